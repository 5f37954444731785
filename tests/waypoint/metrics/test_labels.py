from __future__ import annotations

import pytest

from waypoint.metrics.labels import (
    MESSAGES,
    NO_CLIENT,
    REQUEST,
    STREAM,
    client_of,
    message_labels,
    other_messages,
    other_request,
    other_stream,
    request_labels,
    stream_labels,
)
from ztunnel_compat.identity import Identity
from ztunnel_compat.istio_labels import called
from ztunnel_compat.model import Service, Workload

CLIENT = Workload("c", namespace="shop", workload_name="client", canonical_name="client")
WEB = Workload(
    "w", namespace="shop", workload_name="web", canonical_name="web",
    canonical_revision="v1", service_account="w",
)  # fmt: skip
WHO = Identity("cluster.local", "shop", "default")
SERVICE = called(Service("web", "shop", "web.shop.svc"))
FINE = (False, 200, "-", None)


def test_a_request_s_labels_are_istio_s() -> None:
    client = client_of(CLIENT, WHO, tunnelled=False)
    found = dict(zip(REQUEST, request_labels(client, SERVICE, WEB, FINE), strict=True))
    assert found == {
        "reporter": "waypoint",
        "source_workload": "client",
        "source_canonical_service": "client",
        "source_canonical_revision": "unknown",
        "source_workload_namespace": "shop",
        "source_principal": str(WHO),
        "source_app": "client",
        "source_version": "unknown",
        "source_cluster": "Kubernetes",
        "destination_service": "web.shop.svc",
        "destination_service_namespace": "shop",
        "destination_service_name": "web",
        "destination_workload": "web",
        "destination_canonical_service": "web",
        "destination_canonical_revision": "v1",
        "destination_workload_namespace": "shop",
        "destination_principal": "spiffe://cluster.local/ns/shop/sa/w",
        "destination_app": "web",
        "destination_version": "v1",
        "destination_cluster": "Kubernetes",
        "request_protocol": "http",
        "connection_security_policy": "kernel_verified",
        "response_code": "200",
        "response_flags": "-",
        "grpc_response_status": "",
    }


@pytest.mark.parametrize(
    ("outcome", "protocol", "told"),
    [
        ((True, 200, "-", b"0"), "grpc", "0"),
        ((True, 200, "-", b"16"), "grpc", "16"),
        ((True, 503, "UF", None), "grpc", ""),
        ((True, 200, "-", b"17"), "grpc", "unknown"),
        ((True, 200, "-", b"no\n"), "grpc", "unknown"),
        ((False, 200, "-", b"0"), "http", ""),
    ],
)
def test_grpc_says_how_it_went(
    outcome: tuple[bool, int, str, bytes | None], protocol: str, told: str
) -> None:
    labels = request_labels(NO_CLIENT, SERVICE, None, outcome)
    found = dict(zip(REQUEST, labels, strict=True))
    assert (found["request_protocol"], found["grpc_response_status"]) == (protocol, told)


def test_who_came_by_a_tunnel_is_proven_by_a_certificate() -> None:
    other = Identity("td", "far", "who")
    client = client_of(None, other, tunnelled=True)
    found = dict(zip(STREAM, stream_labels(client, SERVICE, None, "UF"), strict=True))
    assert found["connection_security_policy"] == "mutual_tls"
    assert found["source_principal"] == str(other)
    assert found["source_workload_namespace"] == "far"
    assert found["source_workload"] == "unknown"
    assert (found["request_protocol"], found["response_flags"]) == ("tcp", "UF")


def test_connections_of_one_workload_share_a_client() -> None:
    assert client_of(CLIENT, WHO, tunnelled=False) is client_of(CLIENT, WHO, tunnelled=False)
    assert client_of(CLIENT, WHO, tunnelled=True) is not client_of(CLIENT, WHO, tunnelled=False)


def test_what_finds_no_room_keeps_little() -> None:
    client = client_of(CLIENT, WHO, tunnelled=False)
    labels = other_request(request_labels(client, SERVICE, WEB, (True, 503, "UF", b"14")))
    known = {n: v for n, v in zip(REQUEST, labels, strict=True) if v != "unknown"}
    assert known == {
        "reporter": "waypoint", "request_protocol": "grpc", "response_code": "503",
    }  # fmt: skip
    labels = other_messages(message_labels(client, SERVICE, WEB))
    assert [(n, v) for n, v in zip(MESSAGES, labels, strict=True) if v != "unknown"] == [
        ("reporter", "waypoint")
    ]
    labels = other_stream(stream_labels(client, SERVICE, WEB, "UF"))
    known = {n: v for n, v in zip(STREAM, labels, strict=True) if v != "unknown"}
    assert known == {"reporter": "waypoint", "request_protocol": "tcp"}
