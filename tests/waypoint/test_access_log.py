from __future__ import annotations

import errno

import pytest

from waypoint.access_log import (
    NO_AUTHORITY,
    NO_BYTES,
    NO_UPSTREAM,
    NOBODY,
    Clock,
    agent_part,
    authority_part,
    connect_failure,
    line,
    quoted,
    request_part,
    upstream_part,
    with_flags,
)


def test_a_line_has_istio_s_fields_in_their_order() -> None:
    assert line(
        start="2026-01-31T12:00:00.123Z",
        request=request_part(b"GET", b"/a?b"),
        status=200,
        flags="-",
        details="via_upstream",
        failure="-",
        received=1,
        sent=2,
        duration=3,
        service_time="4",
        agent=agent_part(b"1.2.3.4", b"curl/8"),
        request_id="id",
        authority=authority_part(b"reviews:9080"),
        upstream=upstream_part("10.0.0.1:80", "outbound|80||h", "10.0.0.9:5000"),
        downstream="10.96.0.1:9080 10.0.0.2:40000 -",
        route="ns.r.0",
        peer="spiffe://cluster.local/ns/a/sa/b",
        grpc="5",
    ) == (
        '[2026-01-31T12:00:00.123Z] "GET /a?b HTTP/1.1" 200 - via_upstream - "-" 1 2 3 4 '
        '"1.2.3.4" "curl/8" "id" "reviews:9080" "10.0.0.1:80" outbound|80||h 10.0.0.9:5000 '
        '10.96.0.1:9080 10.0.0.2:40000 - ns.r.0 "spiffe://cluster.local/ns/a/sa/b" 5\n'
    )


def test_what_isn_t_there_is_a_dash() -> None:
    text = line(
        start="t", request=NO_BYTES, status=0, flags="UH", details="-", failure="-",
        received=0, sent=0, duration=0, service_time="-", agent=NOBODY, request_id="-",
        authority=NO_AUTHORITY, upstream=NO_UPSTREAM, downstream="- - -", route="-", peer="p",
    )  # fmt: skip
    assert text == ('[t] "- - -" 0 UH - - "-" 0 0 0 - "-" "-" "-" "-" "-" - - - - - - "p" -\n')


def test_no_value_can_pose_as_fields() -> None:
    assert quoted(b'x" 200 "\\') == 'x\\" 200 \\"\\\\'
    assert quoted(b"caf\xe9") == "caf\xe9"
    assert (quoted(b""), quoted(None)) == ("-", "-")


def test_the_time() -> None:
    clock = Clock()
    assert clock.render(0.9996) == "1970-01-01T00:00:00.999Z"
    assert clock.render(0.5) == "1970-01-01T00:00:00.500Z"
    assert clock.render(86400 * 365.0) == "1971-01-01T00:00:00.000Z"


def test_why_a_connection_failed() -> None:
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "x")
    assert connect_failure(refused) == "delayed_connect_error:_Connection_refused"
    assert connect_failure(TimeoutError()) == "connection_timeout"
    assert connect_failure(ConnectionResetError()) == "delayed_connect_error:_closed"


@pytest.mark.parametrize(
    ("flags", "more", "shown"),
    [
        ("-", (), "-"),
        ("UF,URX", (), "UF,URX"),
        ("-", ("DI",), "DI"),
        ("FI", ("DI",), "DI,FI"),
        ("UF,URX", ("DI",), "UF,DI,URX"),
        ("DC", ("DI", "DI"), "DI,DC"),
    ],
)
def test_flags_come_in_envoy_s_order(flags: str, more: tuple[str, ...], shown: str) -> None:
    assert with_flags(flags, more) == shown
