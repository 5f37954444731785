"""Upgrades: WebSocket over HTTP/1.1 and over HTTP/2 (RFC 8441), and between the two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h2.events
import h2.settings
import pytest
import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websocket

from tests.waypoint.http2.peers import H2, Fields, client2, fields, upstream2
from tests.waypoint.mesh import Mesh, running, service, until
from tests.waypoint.wire import Peer, client, ok, request, upstream
from waypoint.handshake import accept_of
from ztunnel_compat.model import AppProtocol

HTTP1, HTTP2 = AppProtocol.HTTP11, AppProtocol.HTTP2
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ASK = ("Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key: {KEY}")
SWITCH = b"HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
TAKES = {h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}


def serve(mesh: Mesh, speaks: AppProtocol, port: int) -> None:
    mesh.push(service("web", speaks=speaks))
    mesh.pod("web-1", "web", port)
    mesh.ask("web")


def extended(protocol: str = "websocket") -> Fields:
    """A request for a WebSocket by HTTP/2."""
    section = fields("/chat", ("sec-websocket-version", "13"), method="CONNECT")
    return [*section[:4], (b":protocol", protocol.encode()), *section[4:]]


async def connected(peer: H2) -> None:
    """Wait for the settings that allow extended CONNECT."""
    await peer.next(h2.events.RemoteSettingsChanged)


@asynccontextmanager
async def echoing() -> AsyncIterator[int]:
    """A WebSocket server; its port."""

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve_websocket(echo, "127.0.0.1", 0) as server:
        yield next(iter(server.sockets)).getsockname()[1]


async def test_a_websocket_client_and_server() -> None:
    async with running() as mesh, echoing() as port:
        serve(mesh, HTTP1, port)
        for _ in range(2):
            async with connect(f"ws://127.0.0.1:{mesh.port}/chat") as socket:
                for message in ("hello", b"\0" * 300_000, ""):
                    await socket.send(message)
                    assert await socket.recv() == message
        lines = await mesh.lines(2)
        assert '] "GET /chat HTTP/1.1" 101 - via_upstream - "-" 3' in lines[0]


async def test_a_server_that_refuses() -> None:
    refusal = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"
    async with running() as mesh, upstream(None, refusal) as server:
        serve(mesh, HTTP1, server.port)
        with pytest.raises(websockets.exceptions.InvalidStatus):
            await connect(f"ws://127.0.0.1:{mesh.port}/")
        async with client(mesh) as peer:
            assert (await peer.get())[0].startswith(b"http/1.1 403 ")
        assert server.connections == 1


async def test_bytes_ahead_of_an_answer_wait_for_it() -> None:
    seen: list[bytes] = []

    async def slow(peer: Peer) -> None:
        seen.append(await peer.head())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await peer.reader.readexactly(1)
        await peer.send(SWITCH + b"first")
        assert await peer.exactly(5) == b"early"
        await peer.send(b"done")

    async with running() as mesh, upstream(slow) as server:
        serve(mesh, HTTP1, server.port)
        async with client(mesh) as peer:
            await peer.send(request("/", *ASK) + b"early")
            head = await peer.head()
            assert head.startswith(b"HTTP/1.1 101 ")
            assert accept_of(KEY.encode()) in head
            assert await peer.rest() == b"firstdone"
        assert b"upgrade: websocket\r\n" in seen[0].lower()


async def test_bytes_ahead_of_a_refusal_never_reach_the_pool() -> None:
    smuggled = request("/smuggled")
    async with running() as mesh, upstream(None, ok(b"no")) as server:
        serve(mesh, HTTP1, server.port)
        async with client2(mesh) as peer:
            await connected(peer)
            peer.conn.send_headers(1, extended())
            peer.conn.send_data(1, smuggled)
            await peer.flush()
            head = await peer.next(h2.events.ResponseReceived, 1)
            # A 2xx would have accepted it.
            assert dict(head.headers)[b":status"] == b"502"
        assert len(server.heads) == 1


@pytest.mark.parametrize(
    "lines",
    [
        ("Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
        ("Upgrade: websocket",),
        ("Connection: Upgrade", "Upgrade: h2c, websocket"),
        ("Connection: Upgrade", "Upgrade: websocket", "Content-Length: 1"),
    ],
)
async def test_other_upgrades_are_not_asked_for(lines: tuple[str, ...]) -> None:
    async with running() as mesh, upstream() as server:
        serve(mesh, HTTP1, server.port)
        async with client(mesh) as peer:
            body = b"x" if "Length" in lines[-1] else b""
            await peer.send(request("/", *lines, body=body))
            assert (await peer.response())[1] == b"hello"
        assert b"pgrade" not in server.heads[0]


async def test_http2_to_a_websocket_server() -> None:
    async with running() as mesh, echoing() as port:
        serve(mesh, HTTP1, port)
        async with client2(mesh) as peer:
            await connected(peer)
            await peer.send(1, extended())
            head = await peer.next(h2.events.ResponseReceived, 1)
            names = dict(head.headers)
            assert names[b":status"] == b"200"
            assert b"sec-websocket-accept" not in names
            # A text frame, masked with zeros: "hi"; it comes back unmasked.
            await peer.data(1, b"\x81\x82\0\0\0\0hi")
            await peer.next(h2.events.DataReceived, 1)
            await peer.data(1, b"\x88\x80\0\0\0\0", end=True)
            await peer.next(h2.events.StreamEnded, 1)
        (text,) = await mesh.lines(1)
        assert '] "CONNECT /chat HTTP/2" 101 - via_upstream ' in text


async def test_http1_and_http2_to_an_http2_server() -> None:
    async def accepts(server: H2) -> None:
        while True:
            seen = await server.next(h2.events.RequestReceived)
            names = dict(seen.headers or [])
            stream = seen.stream_id
            assert stream is not None
            assert (names[b":method"], names[b":protocol"]) == (b"CONNECT", b"websocket")
            await server.send(stream, [(b":status", b"200")])
            got = await server.next(h2.events.DataReceived, stream)
            await server.data(stream, got.data[::-1])
            await server.next(h2.events.StreamEnded, stream)
            await server.data(stream, b"end", end=True)

    async with running() as mesh, upstream2(accepts, TAKES) as server:
        serve(mesh, HTTP2, server.port)
        async with client(mesh) as old:
            await old.send(request("/chat", *ASK))
            head = await old.head()
            assert head.startswith(b"HTTP/1.1 101 ")
            assert accept_of(KEY.encode()) in head
            await old.send(b"abc")
            assert await old.exactly(3) == b"cba"
            old.writer.write_eof()
            assert await old.rest() == b"end"
        async with client2(mesh) as new:
            await connected(new)
            await new.send(1, extended())
            await new.data(1, b"abc")
            await new.next(h2.events.ResponseReceived, 1)
            await new.next(h2.events.DataReceived, 1)
            await new.data(1, b"", end=True)
            await new.next(h2.events.StreamEnded, 1)
        assert server.connections == 1
        assert len(await mesh.lines(2)) == 2


async def test_an_http2_server_without_upgrades_is_502() -> None:
    async def nothing(server: H2) -> None:
        await server.read()
        await server.read()

    async with running() as mesh, upstream2(nothing) as server:
        serve(mesh, HTTP2, server.port)
        async with client(mesh) as peer:
            await peer.send(request("/", *ASK))
            assert (await peer.head()).startswith(b"HTTP/1.1 502 ")


async def test_unknown_protocols_are_501() -> None:
    async with running() as mesh:
        serve(mesh, HTTP1, 9)
        async with client2(mesh) as peer:
            await connected(peer)
            await peer.send(1, extended("connect-udp"))
            head = await peer.next(h2.events.ResponseReceived, 1)
            assert dict(head.headers)[b":status"] == b"501"


async def test_a_reset_ends_the_other_side() -> None:
    ended: list[str] = []

    async def accepts(peer: Peer) -> None:
        await peer.head()
        await peer.send(
            b"HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        try:
            await peer.rest()
        finally:
            ended.append("ended")

    async with running() as mesh, upstream(accepts) as server:
        serve(mesh, HTTP1, server.port)
        async with client(mesh) as peer:
            await peer.send(request("/", *ASK))
            await peer.head()
            peer.reset()
            await until(lambda: ended)
        (text,) = await mesh.lines(1)
        assert " 101 DC downstream_remote_disconnect " in text
