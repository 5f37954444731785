"""Istio's labels, as ztunnel fills them in, for one key of the kernel's: in NAMES' order."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from bpf.layout import FlowFlag, TrafficKey
from daemon.telemetry.names import Names
from ztunnel_compat.istio_labels import (
    ENDS,
    KERNEL_VERIFIED,
    UNKNOWN,
    Labels,
    called,
    end,
)
from ztunnel_compat.model import Workload

NAMES: Final = (
    "reporter",
    *ENDS,
    "request_protocol",
    "connection_security_policy",
    "source_region",
    "source_zone",
    "destination_region",
    "destination_zone",
)
#: The one label that says how it went: it stands in a series' name, not in a key's.
RESPONSE_FLAGS: Final = "response_flags"


def place(workload: Workload | None) -> Labels:
    """Where an end is: region and zone."""
    if workload is None:
        return (UNKNOWN, UNKNOWN)
    return (workload.locality.region or UNKNOWN, workload.locality.zone or UNKNOWN)


def security(key: TrafficKey, local: Collection[int]) -> str:
    """``kernel_verified`` where this node's kernel vouches for both ends.

    local: hashes of the uids of the pods that are enrolled here.
    """
    if key.source and key.destination in local:
        return KERNEL_VERIFIED
    return UNKNOWN


def point_of_view(
    reporter: str, key: TrafficKey, names: Names, local: Collection[int]
) -> Labels:
    """The labels of a key for a reporter."""
    source, destination = names.workload(key.source), names.workload(key.destination)
    service = names.service(key.target) if key.flags & FlowFlag.SERVICE else None
    return (
        reporter,
        *end(source),
        *called(service),
        *end(destination),
        "tcp",
        security(key, local),
        *place(source),
        *place(destination),
    )


def points_of_view(
    key: TrafficKey, names: Names, local: Collection[int]
) -> tuple[Labels | None, Labels | None]:
    """The labels for source and destination, where each is of this node.

    The key of zeros, for what found no room in the kernel, is shown as unknown.
    """
    if not key.source and not key.destination:
        return point_of_view("source", key, names, local), None
    return (
        point_of_view("source", key, names, local) if key.source else None,
        point_of_view("destination", key, names, local) if key.destination in local else None,
    )
