"""Endpoints' responses: framing, streaming, early ones, and broken ones."""

from __future__ import annotations

import asyncio
import hashlib
import resource

import pytest

from tests.waypoint.mesh import Mesh, running, service, until
from tests.waypoint.transcript import join_client, join_server
from tests.waypoint.wire import Handler, Peer, client, ok, request, upstream
from waypoint.worker import Limits

MIB = 1 << 20


def serve(mesh: Mesh, port: int = 9) -> None:
    mesh.push(service("web"))
    mesh.pod("web-1", "web", port)
    mesh.ask("web")


def answers(*pieces: bytes, close: bool = False) -> Handler:
    async def handle(peer: Peer) -> None:
        while True:
            await peer.head()
            for piece in pieces:
                await peer.send(piece)
                await asyncio.sleep(0.01)
            if close:
                return

    return handle


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "connections"),
    [
        ((CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",), 1),
        ((CHUNKED, b"5;x=y\r\nhel", b"lo\r\n", b"0\r\nA: b\r\n\r\n"), 1),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"he", b"llo"), 1),
        ((b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 5\r\n\r\nhello"), 1),
        ((b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",), 2),
        ((b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",), 2),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloEXTRA",), 2),
    ],
)
async def test_responses_arrive_and_connections_are_reused_when_they_may(
    pieces: tuple[bytes, ...], connections: int
) -> None:
    async with running() as mesh, upstream(answers(*pieces)) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            for _ in range(2):
                head, body = await peer.get()
                assert head.startswith(b"http/1.1 200 ok\r\n")
                assert b"hello" in body.replace(b"hel\r\nlo", b"hello")
                assert b"EXTRA" not in body
                assert b"connection: close" not in head
        assert server.connections == connections


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_responses_without_a_body(status: bytes) -> None:
    async with running() as mesh, upstream(None, b"HTTP/1.1 " + status + b"\r\n\r\n") as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            for _ in range(2):
                await peer.send(request())
                assert status in await peer.head()
        assert server.connections == 1


async def test_head_has_no_body_whatever_it_says() -> None:
    length = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
    async with running() as mesh, upstream(None, length, CHUNKED, ok()) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.send(request(method="HEAD"))
            assert b"Content-Length: 9" in await peer.head()
            await peer.send(request(method="HEAD"))
            assert b"chunked" in await peer.head()
            assert (await peer.get())[1] == b"hello"
        assert server.connections == 1


async def test_a_body_that_ends_with_the_connection_ends_ours() -> None:
    pieces = (b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo")
    async with running() as mesh, upstream(answers(*pieces, close=True)) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.send(request())
            assert b"connection: close\r\n" in await peer.head()
            assert await peer.rest() == b"hello"
        (text,) = await mesh.lines(1)
        assert ' 200 - via_upstream - "-" 0 5 ' in text


# Ends that are none


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        CHUNKED + b"5\r\nhello\r\n",
        CHUNKED + b"5\r\nhello",
    ],
)
async def test_a_response_cut_short_is_noticed(start: bytes) -> None:
    async with running() as mesh, upstream(answers(start, close=True)) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.send(request())
            await peer.head()
            body = await peer.rest()
            assert b"hello" in body
            assert b"0\r\n\r\n" not in body
        (text,) = await mesh.lines(1)
        assert " 200 UC upstream_reset_after_response_started{connection_termination} " in text


async def test_a_reset_under_a_body_without_framing_is_a_reset() -> None:
    arrived = asyncio.Event()

    async def dies(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await arrived.wait()
        peer.reset()

    async with running() as mesh, upstream(dies) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.send(request())
            await peer.head()
            assert await peer.exactly(5) == b"hello"
            arrived.set()
            with pytest.raises(ConnectionResetError):
                await peer.rest()


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 103 x\r\n\r\n" * 20,
        CHUNKED + b"zz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 101 + b"\r\n",
    ],
)
async def test_a_broken_response_is_502_upe(reply: bytes) -> None:
    async with running() as mesh, upstream(answers(reply)) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.send(request())
            head = await peer.head()
            while head.startswith(b"HTTP/1.1 103 "):
                head = await peer.head()
            assert head.startswith(b"HTTP/1.1 502 ")
        (text,) = await mesh.lines(1)
        assert " 502 UPE upstream_reset_before_response_started{protocol_error} " in text


async def test_broken_chunks_later_on_cut_the_response() -> None:
    async with (
        running() as mesh,
        upstream(answers(CHUNKED + b"1\r\nx\r\n", b"zz\r\n")) as server,
    ):
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.send(request())
            await peer.head()
            assert await peer.rest() == b"1\r\nx\r\n"


async def test_bytes_that_nobody_asked_for_close_the_connection() -> None:
    async with running() as mesh:
        serve(mesh)
        up, to_server = join_server(mesh)
        up.data_received(ok())
        assert to_server.take() == ["abort"]
        assert mesh.worker.stats.stray_bytes == 1
        up.connection_lost(None)
        assert up.endpoint.take() is None


# 1xx


async def test_continue_is_passed_through() -> None:
    async def careful(peer: Peer) -> None:
        head = await peer.head()
        assert b"Expect: 100-continue" in head
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await peer.exactly(5)
        await peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok(body))

    async with running() as mesh, upstream(careful) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.send(
                request("/", "Expect: 100-continue", "Content-Length: 5", method="PUT")
            )
            assert await peer.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
            await peer.send(b"abcde")
            assert await peer.head() == b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
            assert (await peer.response())[1] == b"abcde"


async def test_a_refused_expectation_leaves_no_doubt_about_the_next_request() -> None:
    async with running() as mesh, upstream(None, b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"
                                           ) as server:  # fmt: skip
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.send(
                request("/", "Expect: 100-continue", "Content-Length: 5", method="PUT")
            )
            assert b"connection: close\r\n" in await peer.head()
            assert await peer.rest() == b""


# Streaming


async def test_an_early_response_arrives_while_the_request_goes_on() -> None:
    async def early(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await peer.rest()

    async with running() as mesh, upstream(early) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.send(request("/", f"Content-Length: {64 * MIB}", method="POST"))
            await peer.send(b"x" * MIB)
            head, body = await peer.response()
            assert head.startswith(b"http/1.1 413 ")
            assert b"connection: close\r\n" in head
            assert body == b"big"
            await peer.send(b"x" * MIB)
            assert await peer.rest() == b""


async def test_both_directions_flow_at_once() -> None:
    async def echo(peer: Peer) -> None:
        await peer.head()
        await peer.send(CHUNKED)
        while (data := await peer.until(b"\r\n")) != b"0\r\n":
            await peer.send(data)
        await peer.until(b"\r\n")
        await peer.send(b"0\r\n\r\n")

    async with running() as mesh, upstream(echo) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.send(request("/", "Transfer-Encoding: chunked", method="POST"))
            await peer.head()
            for word in (b"one", b"three", b"seven"):
                chunk = b"%x\r\n%s\r\n" % (len(word), word)
                await peer.send(chunk)
                assert await peer.exactly(len(chunk)) == chunk
            await peer.send(b"0\r\n\r\n")
            assert await peer.until(b"0\r\n\r\n") == b"0\r\n\r\n"


def highest_rss() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


BLOCK = bytes(range(256)) * 1024


@pytest.mark.parametrize("chunked", [False, True])
async def test_large_bodies_both_ways_in_bounded_memory(chunked: bool) -> None:
    size = 256 * MIB
    count = size // len(BLOCK)
    framed = b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK) if chunked else BLOCK
    end = b"0\r\n\r\n" if chunked else b""
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    wire = len(framed) * count + len(end)
    taken: list[str] = []

    async def swallow(peer: Peer) -> str:
        digest = hashlib.blake2b()
        left = wire
        while left:
            data = await peer.reader.read(min(left, MIB))
            assert data
            digest.update(data)
            left -= len(data)
        return digest.hexdigest()

    async def pour(peer: Peer) -> str:
        digest = hashlib.blake2b()
        for _ in range(count):
            digest.update(framed)
            await peer.send(framed)
        digest.update(end)
        await peer.send(end)
        return digest.hexdigest()

    async def both(peer: Peer) -> None:
        await peer.head()
        taken.append(await swallow(peer))
        await peer.send(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode())
        await pour(peer)

    async with running() as mesh, upstream(both) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            before = highest_rss()
            await peer.send(request("/", framing, method="POST"))
            sent = await pour(peer)
            await peer.head()
            got = await swallow(peer)
        assert taken == [sent]
        assert got == sent
        # Client, server and proxy are all this process.
        assert highest_rss() - before < 48 * MIB


async def test_a_reader_that_stops_stops_the_writer() -> None:
    sent = 0

    async def pours(peer: Peer) -> None:
        nonlocal sent
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        while True:
            await peer.send(BLOCK)
            sent += len(BLOCK)

    async with running() as mesh, upstream(pours) as server:
        serve(mesh, server.port)
        reader, writer = await asyncio.open_connection("127.0.0.1", mesh.port, limit=65536)
        writer.write(request())
        await writer.drain()
        last = -1
        while sent != last or not sent:
            last = sent
            await asyncio.sleep(0.3)
        (down,) = mesh.worker.downstreams
        assert down.write_paused
        assert down.transport.get_write_buffer_size() < MIB
        assert sent < 64 * MIB
        await reader.readexactly(32 * MIB)
        await until(lambda: sent > last)
        writer.transport.abort()
        await until(lambda: not mesh.worker.downstreams)


# The pool


async def test_idle_connections_are_closed_in_time() -> None:
    async with running(Limits(upstream_idle=0.1)) as mesh, upstream() as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.get()
            (cluster,) = {
                c for c in mesh.worker.targets.clusters.clusters.values() if c.port == 80
            }
            (endpoint,) = cluster.balance.endpoints
            assert len(endpoint.idle) == 1
            await until(lambda: not endpoint.idle)
            await peer.get()
        assert server.connections == 2


async def test_the_last_used_connection_comes_first() -> None:
    async with running() as mesh:
        serve(mesh)
        down, _ = join_client(mesh)
        (first, to_first), (second, to_second) = join_server(mesh), join_server(mesh)
        for _ in range(3):
            down.data_received(request("/", "X-Request-Id: 1"))
            assert to_first.take() == []
            assert len(to_second.take()) == 1
            second.data_received(ok())
        to_second.close()
        down.data_received(request("/", "X-Request-Id: 1"))
        assert len(to_first.take()) == 1
        first.data_received(ok())
        down.connection_lost(None)
