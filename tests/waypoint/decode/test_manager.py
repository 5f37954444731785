"""A port's own bounds, as an HttpConnectionManager says them, and what becomes of them."""

from __future__ import annotations

from typing import Any

import h2.events
import pytest
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)
from google.protobuf import json_format

from tests.waypoint.http2.peers import H2, client2, fields, upstream2
from tests.waypoint.mesh import Mesh, host, hostname, routes, running, service, to, until
from tests.waypoint.wire import Peer, client, request, upstream
from waypoint.downstream import Downstream
from waypoint.errors import RouteError
from waypoint.filters.admission import HeadBounds
from waypoint.filters.decode import TYPE_URL, decode_chain
from waypoint.routing.defaults import NO_DEFAULTS, Defaults
from ztunnel_compat.model import AppProtocol, Extension


def manager(said: dict[str, Any]) -> bytes:
    made = json_format.ParseDict(said, HttpConnectionManager())
    value: bytes = made.SerializeToString()
    return value


@pytest.mark.parametrize(
    ("said", "defaults"),
    [
        ({}, NO_DEFAULTS),
        ({"streamIdleTimeout": "5s"}, Defaults(idle_timeout=5.0)),
        ({"streamIdleTimeout": "0s"}, Defaults(idle_timeout=0.0)),
        ({"requestTimeout": "6s"}, Defaults(request_timeout=6.0)),
        ({"requestTimeout": "0s"}, NO_DEFAULTS),
        ({"commonHttpProtocolOptions": {"maxStreamDuration": "7s"}}, Defaults(stream_limit=7)),
        ({"commonHttpProtocolOptions": {"maxStreamDuration": "0s"}}, NO_DEFAULTS),
    ],
)
def test_times(said: dict[str, Any], defaults: Defaults) -> None:
    assert decode_chain(manager(said), {}).defaults == defaults


@pytest.mark.parametrize(
    ("said", "bounds"),
    [
        ({}, None),
        ({"maxRequestHeadersKb": 1}, HeadBounds(100, 1024)),
        ({"maxRequestHeadersKb": 60}, HeadBounds(100, 61440)),
        ({"commonHttpProtocolOptions": {"maxHeadersCount": 7}}, HeadBounds(7, 61440)),
    ],
)
def test_sizes(said: dict[str, Any], bounds: HeadBounds | None) -> None:
    assert decode_chain(manager(said), {}).admission.head == bounds


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"maxRequestHeadersKb": 0}, "max_request_headers_kb"),
        ({"maxRequestHeadersKb": 61}, "max_request_headers_kb"),
        ({"commonHttpProtocolOptions": {"maxHeadersCount": 0}}, "max_headers_count"),
        ({"commonHttpProtocolOptions": {"maxHeadersCount": 101}}, "max_headers_count"),
        ({"streamIdleTimeout": "-1s"}, "stream_idle_timeout"),
        ({"commonHttpProtocolOptions": {"idleTimeout": "1s"}},
         r"common_http_protocol_options\.idle_timeout .* it bounds a connection"),
        ({"commonHttpProtocolOptions": {"maxConnectionDuration": "1s"}},
         r"max_connection_duration .* it bounds a connection"),
        ({"commonHttpProtocolOptions": {"maxRequestsPerConnection": 1}},
         r"max_requests_per_connection .* it bounds a connection"),
        ({"commonHttpProtocolOptions": {"headersWithUnderscoresAction": 1}},
         "headers_with_underscores_action"),
        ({"requestHeadersTimeout": "1s"}, "request_headers_timeout"),
        ({"drainTimeout": "1s"}, "drain_timeout"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_named(said: dict[str, Any], named: str) -> None:
    with pytest.raises(RouteError, match=named):
        decode_chain(manager(said), {})


def serve(
    mesh: Mesh,
    port: int,
    said: dict[str, Any],
    speaks: AppProtocol = AppProtocol.HTTP11,
    **route: object,
) -> None:
    name = f"inbound-vip|80|filters|{hostname('web')}"
    entry = {"match": {"prefix": "/"}, "route": to("web", **route)}
    bounds = Extension(name, TYPE_URL, manager(said))
    mesh.push(service("web", routes("web", host(entry)), bounds, speaks=speaks))
    mesh.pod("web-1", "web", port)
    mesh.ask("web")
    assert mesh.worker.targets.errors() == {}


async def hangs(peer: Peer) -> None:
    await peer.rest()


@pytest.mark.parametrize(
    ("said", "body", "status", "told"),
    [
        ({"streamIdleTimeout": "0.1s"}, b"", 504, "SI stream_idle_timeout"),
        ({"streamIdleTimeout": "0.1s"}, b"a", 408, "SI stream_idle_timeout"),
        ({"requestTimeout": "0.1s"}, b"a", 408, "- request_overall_timeout"),
        ({"commonHttpProtocolOptions": {"maxStreamDuration": "0.1s"}}, b"", 504,
         "- max_duration_timeout"),
        ({"commonHttpProtocolOptions": {"maxStreamDuration": "0.1s"}}, b"a", 408,
         "- max_duration_timeout"),
    ],
)  # fmt: skip
async def test_what_takes_too_long_ends_as_in_envoy(
    said: dict[str, Any], body: bytes, status: int, told: str
) -> None:
    """body: what is sent of two bytes; nothing: the request has none."""
    async with running() as mesh, upstream(hangs) as server:
        serve(mesh, server.port, said)
        async with client(mesh) as peer:
            length = ("Content-Length: 2",) if body else ()
            await peer.send(request("/", *length, method="POST", body=body))
            assert (await peer.head()).startswith(b"HTTP/1.1 %d " % status)
        (line,) = await mesh.lines(1)
        assert f" {status} {told} " in line


async def test_a_request_that_is_whole_in_time_may_wait_for_its_answer() -> None:
    async with running() as mesh, upstream(hangs) as server:
        serve(mesh, server.port, {"requestTimeout": "5s"}, timeout="0.1s")
        async with client(mesh) as peer:
            await peer.send(request("/", "Content-Length: 2", method="POST", body=b"a"))
            await until(lambda: mesh.worker.active)
            (down,) = mesh.worker.downstreams
            assert isinstance(down, Downstream)
            assert down.exchange is not None
            first = down.exchange.timer
            assert first is not None
            await peer.send(b"b")
            assert (await peer.head()).startswith(b"HTTP/1.1 504 ")
            assert first.cancelled()
        (line,) = await mesh.lines(1)
        assert " 504 UT upstream_response_timeout " in line


async def test_a_request_whose_answer_has_begun_may_take_its_time() -> None:
    async def answers(peer: Peer) -> None:
        await peer.until(b"a")
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx")
        await peer.rest()

    async with running() as mesh, upstream(answers) as server:
        limit = {"requestTimeout": "0.1s", "streamIdleTimeout": "0.4s"}
        serve(mesh, server.port, limit)
        async with client(mesh) as peer:
            await peer.send(request("/", "Content-Length: 2", method="POST", body=b"a"))
            assert (await peer.head()).startswith(b"HTTP/1.1 200 ")
            await peer.rest()
        (line,) = await mesh.lines(1)
        assert " 200 SI stream_idle_timeout " in line


async def test_what_a_route_says_of_idle_times_counts() -> None:
    async with running() as mesh, upstream(hangs) as server:
        serve(
            mesh, server.port, {"streamIdleTimeout": "0.1s"}, idleTimeout="0s", timeout="0.4s"
        )
        async with client(mesh) as peer:
            await peer.get()
        (line,) = await mesh.lines(1)
        assert " 504 UT upstream_response_timeout " in line


async def test_heads_are_bounded_in_either_protocol() -> None:
    said = {"maxRequestHeadersKb": 1, "commonHttpProtocolOptions": {"maxHeadersCount": 5}}
    async with running() as mesh, upstream() as server:
        serve(mesh, server.port, said)
        for _ in range(2):
            async with client(mesh) as peer:
                # As many and as large as a real Envoy takes, and no more.
                few = [f"X-{n}: 1" for n in range(4)]
                assert (await peer.get("/", *few))[0].startswith(b"http/1.1 200")
                assert (await peer.get("/", *few, "X: 1"))[0].startswith(b"http/1.1 431")
                assert (await peer.get("/", "X-A: " + "a" * 980))[0].startswith(b"http/1.1 200")
                assert (await peer.get("/", "X-A: " + "a" * 990))[0].startswith(b"http/1.1 431")
                assert (await peer.get("/" + "a" * 1000))[0].startswith(b"http/1.1 431")
        async with client2(mesh) as two:
            many = [(f"x-{n}", "1") for n in range(5)]
            assert (await two.response(await two.get("/", *many[1:])))[0][b":status"] == b"200"
            assert (await two.response(await two.get("/", *many)))[0][b":status"] == b"431"
        lines = await mesh.lines(12)
        assert " 431 - too_many_headers " in lines[1]
        assert " 431 - request_headers_too_large " in lines[3]
        # Each head is decided on once: the second client's were remembered.
        assert len(mesh.worker.memo.records) == 5


@pytest.mark.parametrize(("most", "asked"), [("5s", "100m"), ("0.1s", "5S")])
async def test_the_shorter_of_a_grpc_caller_s_time_and_the_port_s_counts(
    most: str, asked: str
) -> None:
    async def waits(server: H2) -> None:
        while await server.read():
            pass

    said = {"commonHttpProtocolOptions": {"maxStreamDuration": most}}
    async with running() as mesh, upstream2(waits) as server:
        serve(mesh, server.port, said, AppProtocol.GRPC, maxGrpcTimeout="0s")
        async with client2(mesh) as peer:
            more = (("content-type", "application/grpc"), ("grpc-timeout", asked))
            await peer.send(1, fields("/t.S/x", *more, method="POST"))
            head = await peer.next(h2.events.ResponseReceived, 1)
            assert dict(head.headers)[b"grpc-status"] == b"4"
