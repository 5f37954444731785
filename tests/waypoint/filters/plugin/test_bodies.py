"""Bodies through plug-ins: streamed, in HTTP/2, with trailers, and broken off."""

from __future__ import annotations

import asyncio

from tests.waypoint.filters.plugin.mesh import chain, plugged, plugin
from tests.waypoint.filters.plugin.test_filter import version
from tests.waypoint.grpc_service import Client, grpc_client, grpc_server
from tests.waypoint.mesh import running, service, until
from tests.waypoint.wire import client, request, upstream
from waypoint.filters.plugin.bodies import ResponseTap
from ztunnel_compat.model import AppProtocol

SEES = """
def __init__(self, config):
    self.calls = 0
def on_body(self, request, data, last, direction):
    assert len(data) <= 65536
    self.calls += 1
"""
LARGE = bytes(range(256)) * 4000


async def test_grpc_streams_pass_with_their_trailers() -> None:
    async with running() as mesh:
        with grpc_server() as (_, port):
            mesh.push(
                service("web", chain(one=plugin(SEES, timeout=5)), speaks=AppProtocol.GRPC)
            )
            mesh.pod("web-1", "web", port)
            mesh.ask("web")

            def question(one: Client) -> None:
                reply, call = one.unary.with_call(b"hello", metadata=(("a", "b"),))
                assert reply == b"hello"
                assert dict(call.trailing_metadata())["tail"] == "2"
                assert one.clientstream(iter([b"a", b"b"])) == b"a,b"
                assert list(one.bidi(iter([b"ab", b"cd"]))) == [b"ba", b"dc"]
                assert one.unary(LARGE) == LARGE
                assert list(one.serverstream(b"300")) == [b"300"] * 300

            def run() -> None:
                with grpc_client(mesh.port) as one:
                    question(one)

            await asyncio.to_thread(run)
            await until(lambda: not version(mesh).sessions)
        assert mesh.worker.stats.filters == {}


async def test_a_response_that_has_begun_is_broken_off() -> None:
    code = """
bodies = ['response']
def on_body(self, request, data, last, direction):
    if last:
        raise ValueError
"""
    async with plugged(one=plugin(code)) as mesh, client(mesh) as peer:
        await peer.send(request("/"))
        # The head went on before the body's end was seen; nobody may take it for whole.
        rest = await peer.rest()
        assert b"transfer-encoding: chunked" in rest.lower()
        assert not rest.endswith(b"0\r\n\r\n")
        assert " plugin_failed " in (await mesh.lines(1))[0]


async def test_a_request_body_that_fails_is_refused() -> None:
    code = "def on_body(self, request, data, last, direction):\n  1 / 0"
    async with plugged(one=plugin(code)) as mesh, client(mesh) as peer:
        await peer.send(request("/", "Content-Length: 3", method="POST") + b"abc")
        assert (await peer.response())[0].startswith(b"http/1.1 500")


async def test_a_failing_filter_lets_bodies_pass_where_it_may() -> None:
    code = "bodies = ['request']\ndef on_body(self, request, data, last, direction):\n  1 / 0"
    async with plugged(one=plugin(code, failOpen=True)) as mesh, client(mesh) as peer:
        await peer.send(request("/", "Content-Length: 200000", method="POST") + b"x" * 200_000)
        assert (await peer.response())[1].endswith(b"x" * 200_000)


async def test_who_reads_slowly_holds_everybody_up() -> None:
    sent = 0

    async def endless(peer: object) -> None:
        nonlocal sent
        await peer.head()  # type: ignore[attr-defined]
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")  # type: ignore[attr-defined]
        while True:
            await peer.send(b"x" * 65536)  # type: ignore[attr-defined]
            sent += 65536

    async with running() as mesh, upstream(endless) as server:
        mesh.push(service("web", chain(one=plugin(SEES, timeout=5))))
        mesh.pod("web-1", "web", server.port)
        mesh.ask("web")
        async with client(mesh) as peer:
            await peer.send(request("/"))
            await peer.head()
            (down,) = mesh.worker.downstreams
            await until(lambda: down.paused)
            exchange = down.exchange
            assert exchange is not None
            assert exchange.taps is not None
            (tap,) = exchange.taps.row
            assert isinstance(tap, ResponseTap)
            for _ in range(200):
                await asyncio.sleep(0)
                assert len(tap.items) < 8
            assert sent < 32 << 20
            await peer.exactly(8 << 20)
