"""Any protocol at either end."""

from __future__ import annotations

import asyncio
import subprocess

import h2.events
import pytest

from tests.waypoint.http2.peers import H2, client2, echo, fields, upstream2
from tests.waypoint.mesh import Mesh, running, service
from tests.waypoint.wire import Peer, client, ok, request, upstream
from ztunnel_compat.model import AppProtocol

HTTP1, HTTP2, UNKNOWN = AppProtocol.HTTP11, AppProtocol.HTTP2, AppProtocol.UNKNOWN
MIB = 1 << 20


def serve(mesh: Mesh, speaks: AppProtocol, port: int = 9) -> None:
    mesh.push(service("web", speaks=speaks))
    mesh.pod("web-1", "web", port)
    mesh.ask("web")


@pytest.mark.parametrize("speaks", [HTTP2, UNKNOWN])
async def test_http2_to_http2(speaks: AppProtocol) -> None:
    async with running() as mesh, upstream2(echo) as server:
        serve(mesh, speaks, server.port)
        async with client2(mesh) as peer:
            for _ in range(3):
                stream = await peer.get("/a?b")
                head, body = await peer.response(stream)
                assert (head[b":status"], head[b"x-served"]) == (b"200", b"1")
                assert body == b"GET /a?b "
        assert server.connections == 1
        lines = await mesh.lines(3)
        assert '] "GET /a?b HTTP/2" 200 - via_upstream - "-" 0 9 ' in lines[0]


async def test_streams_share_a_connection_up_to_the_endpoint_s_limit() -> None:
    async def two(server: H2) -> None:
        first = await server.next(h2.events.RequestReceived)
        second = await server.next(h2.events.RequestReceived)
        for event in (second, first):
            assert event.stream_id is not None
            await server.send(event.stream_id, [(b":status", b"204")], end=True)
        await echo(server)

    limit = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 2}
    async with running() as mesh, upstream2(two, limit) as server:
        serve(mesh, HTTP2, server.port)
        async with client2(mesh) as peer:
            streams = [await peer.get() for _ in range(2)]
            for stream in streams:
                assert (await peer.response(stream))[0][b":status"] == b"204"
            assert server.connections == 1
            streams = [await peer.get() for _ in range(4)]
            for stream in streams:
                await peer.next(h2.events.StreamEnded, stream)


async def test_an_http1_client_of_an_http2_server() -> None:
    async with running() as mesh, upstream2(echo) as server:
        serve(mesh, HTTP2, server.port)
        async with client(mesh) as peer:
            for _ in range(2):
                head, body = await peer.get("/a")
                assert b"transfer-encoding: chunked\r\n" in head
                assert body == b"7\r\nGET /a \r\n0\r\n\r\n"
            await peer.send(request("/", "Content-Length: 3", method="POST", body=b"abc"))
            assert (await peer.response())[1] == b"a\r\nPOST / abc\r\n0\r\n\r\n"
            chunked = b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
            raw = request("/", "Transfer-Encoding: chunked", method="POST")
            await peer.send(raw + chunked)
            assert (await peer.response())[1] == b"c\r\nPOST / abcde\r\n0\r\n\r\n"
            await peer.send(request(method="HEAD"))
            head = await peer.head()
            assert b"content-length" not in head
        assert server.connections == 1


async def test_an_http2_client_of_an_http1_server() -> None:
    heads: list[bytes] = []

    async def handle(peer: Peer) -> None:
        while True:
            heads.append(await peer.head())
            body = b""
            if b"chunked" in heads[-1]:
                body = await peer.until(b"0\r\n\r\n")
            elif b"content-length: 3" in heads[-1]:
                body = await peer.exactly(3)
            await peer.send(ok(body, "Connection: keep-alive, x-hop", "X-Hop: 1", "X-Kept: 2"))

    async with running() as mesh, upstream(handle) as server:
        serve(mesh, HTTP1, server.port)
        async with client2(mesh) as peer:
            stream = await peer.get("/a", ("cookie", "a=1"), ("cookie", "b=2"))
            head, body = await peer.response(stream)
            assert head == {b":status": b"200", b"x-kept": b"2", b"content-length": b"0"}
            assert body == b""
            stream = peer.conn.get_next_available_stream_id()
            await peer.send(stream, fields("/b", method="POST"))
            await peer.data(stream, b"abc", end=True)
            assert (await peer.response(stream))[1] == b"3\r\nabc\r\n0\r\n\r\n"
            stream = peer.conn.get_next_available_stream_id()
            await peer.send(stream, fields("/c", ("content-length", "3"), method="POST"))
            await peer.data(stream, b"abc", end=True)
            assert (await peer.response(stream))[1] == b"abc"
            stream = peer.conn.get_next_available_stream_id()
            await peer.send(stream, fields("/d", method="POST"), end=True)
            await peer.response(stream)
        assert heads[0].startswith(b"GET /a HTTP/1.1\r\nhost: web\r\ncookie: a=1; b=2\r\n")
        assert b"transfer-encoding: chunked\r\n" in heads[1]
        assert b"transfer-encoding" not in heads[2]
        assert b"content-length: 0\r\n" in heads[3]
        assert server.connections == 1


async def test_trailers_both_ways_and_across() -> None:
    async def in_http1(peer: Peer) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        while True:
            await peer.head()
            assert await peer.until(b"\r\n\r\n") == b"3\r\nabc\r\n0\r\nt: 1\r\n\r\n"
            await peer.send(head + b"2\r\nhi\r\n0\r\nU: 2\r\n\r\n")

    async def in_http2(server: H2) -> None:
        while True:
            seen = await server.next(h2.events.TrailersReceived)
            assert dict(seen.headers or []) == {b"t": b"1"}
            assert seen.stream_id is not None
            await server.send(seen.stream_id, [(b":status", b"200")])
            await server.data(seen.stream_id, b"hi")
            await server.send(seen.stream_id, [(b"u", b"2")], end=True)

    async with running() as mesh, upstream(in_http1) as one, upstream2(in_http2) as two:
        for speaks, port in ((HTTP1, one.port), (HTTP2, two.port)):
            serve(mesh, speaks, port)
            async with client(mesh) as old, client2(mesh) as new:
                raw = request("/", "Transfer-Encoding: chunked", method="POST")
                await old.send(raw + b"3\r\nabc\r\n0\r\nt: 1\r\n\r\n")
                await old.head()
                got = await old.until(b"0\r\n")
                assert got + (await old.until(b"\r\n\r\n")).lower() == (
                    b"2\r\nhi\r\n0\r\nu: 2\r\n\r\n"
                )
                stream = new.conn.get_next_available_stream_id()
                await new.send(stream, fields(method="POST"))
                await new.data(stream, b"abc")
                await new.send(stream, [(b"t", b"1")], end=True)
                trailers = await new.next(h2.events.TrailersReceived, stream)
                assert dict(trailers.headers or []) == {b"u": b"2"}
                assert new.content(stream) == b"hi"


@pytest.mark.parametrize("speaks", [HTTP1, HTTP2])
async def test_continue_goes_through_to_either(speaks: AppProtocol) -> None:
    async def in_http1(peer: Peer) -> None:
        assert b"expect: 100-continue" in (await peer.head()).lower()
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await peer.send(ok(await peer.exactly(3)))

    async def in_http2(server: H2) -> None:
        seen = await server.next(h2.events.RequestReceived)
        assert seen.stream_id is not None
        await server.send(seen.stream_id, [(b":status", b"100")])
        await server.next(h2.events.StreamEnded, seen.stream_id)
        await server.send(seen.stream_id, [(b":status", b"200"), (b"content-length", b"3")])
        await server.data(seen.stream_id, server.content(seen.stream_id), end=True)

    more = (("expect", "100-continue"), ("content-length", "3"))
    async with running() as mesh, upstream(in_http1) as one, upstream2(in_http2) as two:
        serve(mesh, speaks, one.port if speaks is HTTP1 else two.port)
        async with client2(mesh) as new:
            await new.send(1, fields("/", *more, method="PUT"))
            await new.next(h2.events.InformationalResponseReceived, 1)
            await new.data(1, b"abc", end=True)
            assert (await new.response(1))[1] == b"abc"
        async with client(mesh) as old:
            lines = [f"{name}: {value}" for name, value in more]
            await old.send(request("/", *lines, method="PUT"))
            assert (await old.head()).startswith(b"HTTP/1.1 100 Continue\r\n")
            await old.send(b"abc")
            assert (await old.response())[1] == b"abc"


@pytest.mark.parametrize("speaks", [HTTP1, HTTP2])
async def test_large_bodies_from_curl(speaks: AppProtocol) -> None:
    size = 8 * MIB

    async def in_http1(peer: Peer) -> None:
        await peer.head()
        await peer.send(ok(b"x" * size))

    async def in_http2(server: H2) -> None:
        seen = await server.next(h2.events.RequestReceived)
        assert seen.stream_id is not None
        await server.send(seen.stream_id, [(b":status", b"200")])
        left = size
        while left:
            window = server.conn.local_flow_control_window(seen.stream_id)
            room = min(left, window, 16384)
            if not room:
                assert await server.read()
                continue
            await server.data(seen.stream_id, b"x" * room, end=room == left)
            left -= room

    async with running() as mesh, upstream(in_http1) as one, upstream2(in_http2) as two:
        serve(mesh, speaks, one.port if speaks is HTTP1 else two.port)
        for option in ("--http1.1", "--http2-prior-knowledge"):
            url = f"http://127.0.0.1:{mesh.port}/"
            command = ["curl", "-sS", "-m", "20", option, "-w", "%{http_version}", url]
            done = await asyncio.to_thread(
                subprocess.run, command, capture_output=True, check=True
            )
            assert done.stdout == b"x" * size + (b"1.1" if "1.1" in option else b"2")


async def test_nghttp_speaks_to_it() -> None:
    async with running() as mesh, upstream() as server:
        serve(mesh, HTTP1, server.port)
        url = f"http://127.0.0.1:{mesh.port}/"
        done = await asyncio.to_thread(
            subprocess.run, ["nghttp", "-m", "3", url], capture_output=True, check=True
        )
        assert done.stdout == b"hello" * 3
