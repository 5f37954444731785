"""HBONE's headers, both ways, and what must not be taken."""

from __future__ import annotations

import random

import pytest

from ztunnel_compat.errors import HboneError
from ztunnel_compat.hbone import (
    MAX_BAGGAGE,
    Authority,
    Baggage,
    ConnectRequest,
    Headers,
    address_of,
    parse_authority,
    parse_baggage,
    parse_request,
    parse_response,
    request_headers,
    response_headers,
    server_name_of,
    traceparent_of,
)
from ztunnel_compat.identity import Identity
from ztunnel_compat.model import Locality, Workload

FULL = Baggage("Kubernetes", "app", "deployment", "web", "web-svc", "v2", "eu", "eu-1")
TRACE = traceparent_of(bytes(range(1, 25)))


BAGGAGE = (
    b"k8s.cluster.name=Kubernetes,k8s.namespace.name=app,k8s.deployment.name=web,"
    b"service.name=web-svc,service.version=v2,cloud.region=eu,cloud.availability_zone=eu-1"
)


def test_request_is_what_ztunnel_sends() -> None:
    headers = request_headers(
        "10.0.0.2:8080",
        baggage=FULL.encode(),
        forwarded_for="10.0.0.1:40000",
        forwarded_host="web.app.svc.cluster.local",
        traceparent=TRACE,
    )
    assert headers == [
        (b":method", b"CONNECT"),
        (b":authority", b"10.0.0.2:8080"),
        (b"baggage", BAGGAGE),
        (b"forwarded", b'for="10.0.0.1:40000";host=web.app.svc.cluster.local'),
        (b"traceparent", b"00-0102030405060708090a0b0c0d0e0f10-1112131415161718-00"),
    ]
    assert len(headers[-1][1]) == 55
    assert parse_request(headers) == ConnectRequest(
        Authority("10.0.0.2", 8080, bytes((10, 0, 0, 2))),
        FULL,
        "10.0.0.1:40000",
        "web.app.svc.cluster.local",
        TRACE,
    )


def test_baggage_of_a_workload_leaves_out_what_is_empty() -> None:
    workload = Workload(
        "uid", namespace="app", workload_name="web", locality=Locality(zone="eu-1")
    )
    encoded = Baggage.of(workload).encode()
    assert encoded == (
        b"k8s.cluster.name=Kubernetes,k8s.namespace.name=app,k8s.pod.name=web,"
        b"cloud.availability_zone=eu-1"
    )
    assert parse_baggage(encoded) == Baggage.of(workload)


@pytest.mark.parametrize("kind", ["deployment", "cronjob", "pod", "job"])
def test_workload_types(kind: str) -> None:
    assert parse_baggage(f"k8s.{kind}.name=a".encode()) == Baggage(
        workload_type=kind, workload_name="a"
    )


def test_baggage_of_strange_values_can_be_read_again() -> None:
    made = Baggage(namespace="a,b=c;d e%\r\n\x00é")
    assert all(0x20 < byte < 0x7F for byte in made.encode())
    assert parse_baggage(made.encode()) == made


def test_baggage_that_says_nothing() -> None:
    assert parse_baggage(b"") == Baggage()
    assert parse_baggage(b"k8s.pod=x, =, ,k8s..name=,a.name=b;c=d") == Baggage()
    assert parse_baggage(b"service.name=" + b"a" * MAX_BAGGAGE) == Baggage()


@pytest.mark.parametrize(
    ("raw", "host", "port", "address"),
    [
        (b"10.0.0.2:80", "10.0.0.2", 80, bytes((10, 0, 0, 2))),
        (b"[fd00::1]:65535", "fd00::1", 65535, bytes((0xFD, *bytes(14), 1))),
        (b"[::ffff:10.0.0.2]:1", "10.0.0.2", 1, bytes((10, 0, 0, 2))),
        (b"Web.App.svc.cluster.local.:80", "web.app.svc.cluster.local", 80, None),
        (b"web:00080", "web", 80, None),
    ],
)
def test_authority(raw: bytes, host: str, port: int, address: bytes | None) -> None:
    assert parse_authority(raw) == Authority(host, port, address)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b":80", b"10.0.0.2", b"10.0.0.2:", b"10.0.0.2:0", b"10.0.0.2:65536",
        b"10.0.0.2:+80", b"10.0.0.2: 80", b"10.0.0.2:\xc2\xb2", b"fd00::1:80", b"[10.0.0.2]:80",
        b"[fd00::1%eth0]:80", b"user@web:80", b"we b:80", b"-web:80", b"a..b:80", b"[web]:80",
        b"\xff:80", b"a" * 300 + b":80", b"web\n:80", b"web:80\n",
    ],
)  # fmt: skip
def test_authority_that_is_none(raw: bytes) -> None:
    with pytest.raises(HboneError, match=":authority"):
        parse_authority(raw)


def test_authority_as_text() -> None:
    assert str(Authority.of(bytes((*bytes(10), 0xFF, 0xFF, 10, 0, 0, 2)), 80)) == "10.0.0.2:80"
    assert str(Authority.of(bytes((0xFD, *bytes(14), 1)), 80)) == "[fd00::1]:80"


CONNECT = [(b":method", b"CONNECT"), (b":authority", b"10.0.0.2:80")]


@pytest.mark.parametrize(
    ("headers", "match"),
    [
        ([], "only CONNECT"),
        ([(b":method", b"GET"), *CONNECT[1:]], "GET"),
        (CONNECT[:1], "without :authority"),
        ([*CONNECT, (b":authority", b"10.0.0.3:80")], "twice"),
        ([*CONNECT, (b":path", b"/")], ":path"),
        ([*CONNECT, (b":protocol", b"websocket")], ":protocol"),
        ([*CONNECT, (b"connection", b"close")], "connection"),
        ([*CONNECT[:1], (b":authority", b"nowhere")], "no port"),
    ],
)
def test_request_that_is_refused(headers: Headers, match: str) -> None:
    with pytest.raises(HboneError, match=match):
        parse_request(headers)


def test_what_tells_nothing_true_is_passed_over() -> None:
    request = parse_request(
        [
            *CONNECT,
            (b"forwarded", b"for=a" + b"b" * 600),
            (b"traceparent", b"00-" + b"0" * 32 + b"-1111111111111111-00"),
            (b"baggage", b"\xff\xfe"),
        ]
    )
    assert request == ConnectRequest(Authority("10.0.0.2", 80, bytes((10, 0, 0, 2))))


def test_first_of_several_counts() -> None:
    request = parse_request(
        [
            *CONNECT,
            (b"forwarded", b'by=x;FOR="[fd00::1]:9";host="a.b", for=2.2.2.2'),
            (b"forwarded", b"for=3.3.3.3"),
        ]
    )
    assert (request.forwarded_for, request.forwarded_host) == ("[fd00::1]:9", "a.b")


def test_responses() -> None:
    assert response_headers(503) == [(b":status", b"503")]
    answer = parse_response(response_headers(200, FULL.encode()))
    assert (answer.status, answer.baggage) == (200, FULL)
    for bad in (b"", b"20", b"2000", b"\xb2\xb2\xb2", b"2 0"):
        with pytest.raises(HboneError, match="status"):
            parse_response([(b":status", bad)])


def test_garbage_is_refused_or_read() -> None:
    draw = random.Random(1)
    names = [
        b":method",
        b":authority",
        b":path",
        b"baggage",
        b"forwarded",
        b"traceparent",
        b"x",
    ]
    seeds = [b"CONNECT", b"[fd00::1]:80", b"10.0.0.2:80", FULL.encode(), TRACE.encode()]
    for _ in range(5_000):
        headers = []
        for _ in range(draw.randrange(5)):
            value = bytearray(draw.choice(seeds))
            for _ in range(draw.randrange(3)):
                value[draw.randrange(len(value))] = draw.randrange(256)
            headers.append((draw.choice(names), bytes(value)))
        try:
            request = parse_request(headers)
        except HboneError:
            continue
        assert 0 < request.authority.port < 65536


def test_a_server_s_name_is_a_host_name_however_long_its_identity_is() -> None:
    one = server_name_of(Identity("cluster.local", "n" * 63, "s" * 253))
    assert one.encode("idna")
    assert one != server_name_of(Identity("cluster.local", "n" * 63, "s" * 252))


@pytest.mark.parametrize(
    ("host", "packed"),
    [
        ("10.0.0.9", bytes((10, 0, 0, 9))),
        ("::ffff:10.96.0.7", bytes((10, 96, 0, 7))),
        ("fe80::1%eth0", b"\xfe\x80" + bytes(13) + b"\1"),
    ],
)
def test_addresses_of_sockets(host: str, packed: bytes) -> None:
    assert address_of(host) == packed
