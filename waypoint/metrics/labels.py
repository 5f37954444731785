"""Istio's labels for what goes through a waypoint, filled in as Istio's fills them in.

Facts: istio/proxy source/extensions/filters/http/istio_stats (the reporter of gateways:
the destination is the endpoint that was chosen, the service that of the cluster).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from ztunnel_compat.identity import Identity
from ztunnel_compat.istio_labels import (
    ENDS,
    KERNEL_VERIFIED,
    MUTUAL_TLS,
    UNKNOWN,
    Labels,
    end,
    identified,
)
from ztunnel_compat.model import Workload

REPORTER: Final = "waypoint"
#: Labels of all families, before those that say how it went.
COMMON: Final = ("reporter", *ENDS, "request_protocol", "connection_security_policy")
#: Of a request, and of a connection that isn't HTTP.
REQUEST: Final = (*COMMON, "response_code", "response_flags", "grpc_response_status")
STREAM: Final = (*COMMON, "response_flags")
#: Of gRPC's messages, which are counted before it is known how a call ends.
MESSAGES: Final = ("reporter", *ENDS)

HTTP: Final = "http"
GRPC: Final = "grpc"
TCP: Final = "tcp"
#: gRPC's codes; what an endpoint says instead of one is nobody's label.
GRPC_CODES: Final = {b"%d" % code: str(code) for code in range(17)}
#: Clients whose labels are remembered: those of one workload are shared by all of its
#: connections.
CLIENTS: Final = 4096


class Client:
    """A client's part of the labels; compared by identity, which costs nothing."""

    __slots__ = ("labels", "policy")

    def __init__(self, labels: Labels, policy: str) -> None:
        self.labels = labels
        self.policy = policy


NO_CLIENT: Final = Client(end(None), UNKNOWN)


def client_of(
    workload: Workload | None, identity: Identity | None, *, tunnelled: bool
) -> Client:
    """The client that a connection is from; identity: as it was proven, None: it wasn't.

    tunnelled: it was proven by a certificate, else by the kernel.
    """
    return shared(identified(workload, identity), MUTUAL_TLS if tunnelled else KERNEL_VERIFIED)


@lru_cache(maxsize=CLIENTS)
def shared(labels: Labels, policy: str) -> Client:
    """The same client for the same labels, as long as it is remembered."""
    return Client(labels, policy)


def request_labels(
    client: Client,
    service: Labels,
    endpoint: Workload | None,
    outcome: tuple[bool, int, str, bytes | None],
) -> Labels:
    """The values of REQUEST; outcome: gRPC or not, status, response flags, gRPC's status."""
    grpc, status, flags, grpc_status = outcome
    told = "" if grpc_status is None else GRPC_CODES.get(grpc_status, UNKNOWN)
    return (
        REPORTER,
        *client.labels,
        *service,
        *end(endpoint),
        GRPC if grpc else HTTP,
        client.policy,
        str(status),
        flags,
        told if grpc else "",
    )


def stream_labels(
    client: Client, service: Labels, endpoint: Workload | None, flags: str
) -> Labels:
    """The values of STREAM."""
    return (
        REPORTER, *client.labels, *service, *end(endpoint), TCP, client.policy, flags,
    )  # fmt: skip


def message_labels(client: Client, service: Labels, endpoint: Workload | None) -> Labels:
    """The values of MESSAGES."""
    return (REPORTER, *client.labels, *service, *end(endpoint))


def other_request(labels: Labels) -> Labels:
    """Where a request is counted that finds no room: with its protocol and its status."""
    values = dict(zip(REQUEST, labels, strict=True))
    kept = {"reporter", "request_protocol", "response_code"}
    return tuple(value if name in kept else UNKNOWN for name, value in values.items())


def other_stream(labels: Labels) -> Labels:
    """Where a connection is counted that finds no room."""
    values = dict(zip(STREAM, labels, strict=True))
    kept = {"reporter", "request_protocol"}
    return tuple(value if name in kept else UNKNOWN for name, value in values.items())


def other_messages(labels: Labels) -> Labels:
    """Where messages are counted that find no room."""
    return (labels[0], *[UNKNOWN] * (len(labels) - 1))
