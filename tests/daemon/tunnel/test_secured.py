"""TLS between two of our ends, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
from collections.abc import AsyncIterator

import pytest

from daemon.tunnel.poller import Poller
from daemon.tunnel.secured import HIGH, Secured
from tests.daemon.tunnel.pki import client_context, new_authority, server_context, who
from tests.daemon.tunnel.rig import until


class End:
    """An owner that notes what it is told."""

    def __init__(self, greeting: bytes = b"") -> None:
        self.greeting = greeting
        self.data = bytearray()
        self.lost: list[Exception | None] = []
        self.paused: list[bool] = []
        self.secured: Secured

    def connection_made(self, secured: Secured) -> None:
        self.secured = secured
        if self.greeting:
            secured.write(self.greeting)

    def received(self, data: memoryview) -> None:
        self.data += data

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.append(error)

    def pause_writing(self) -> None:
        self.paused.append(True)

    def resume_writing(self) -> None:
        self.paused.append(False)


@pytest.fixture
async def poller() -> AsyncIterator[Poller]:
    made = Poller()
    yield made
    made.close()


def sockets() -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    client.setblocking(False)
    server.setblocking(False)
    return client, server


@contextlib.asynccontextmanager
async def joined(
    poller: Poller, server_greeting: bytes = b""
) -> AsyncIterator[tuple[End, End]]:
    near, far = End(), End(server_greeting)
    ours, theirs = sockets()
    client = Secured(poller, ours, client_context(who("client")), near)
    server = Secured(poller, theirs, server_context(who("server")), far)
    await asyncio.gather(client.shake(), server.shake())
    try:
        yield near, far
    finally:
        client.abort()
        server.abort()


async def test_bytes_go_both_ways(poller: Poller) -> None:
    async with joined(poller, b"welcome") as (near, far):
        await until(lambda: near.data == b"welcome")
        near.secured.write(b"hello")
        await until(lambda: far.data == b"hello")
        assert near.secured.tls.version() == "TLSv1.3"
        assert near.lost == far.lost == []


async def test_much_arrives_whole_and_its_source_is_told_to_stop(poller: Poller) -> None:
    data = random.Random(3).randbytes(8_000_000)
    async with joined(poller) as (near, far):
        near.secured.write(data)
        assert near.secured.unsent > HIGH
        assert near.paused == [True]
        await until(lambda: len(far.data) == len(data))
        assert far.data == data
        assert near.paused == [True, False]
        assert near.secured.unsent == 0


async def test_what_was_written_arrives_before_the_end(poller: Poller) -> None:
    async with joined(poller) as (near, far):
        far.secured.write(b"something that nobody reads")
        near.secured.write(bytes(3_000_000))
        near.secured.close()
        near.secured.write(b"too late")
        await until(lambda: far.lost)
        assert far.lost == [None]
        assert len(far.data) == 3_000_000
        await until(lambda: near.secured.closed)
        assert near.lost == []


async def test_a_break_is_told_once(poller: Poller) -> None:
    async with joined(poller) as (near, far):
        near.secured.abort()
        near.secured.abort()
        await until(lambda: far.lost)
        assert near.lost == []
        assert len(far.lost) == 1
        far.secured.close()
        far.secured.write(b"x")


async def test_bytes_that_are_no_tls_break_it(poller: Poller) -> None:
    async with joined(poller) as (near, far):
        near.secured.socket.send(b"GET / HTTP/1.1\r\n\r\n")
        await until(lambda: far.lost)
        (error,) = far.lost
        assert isinstance(error, ssl.SSLError)


async def test_who_is_not_trusted_hears_why(poller: Poller) -> None:
    ours, theirs = sockets()
    foreign = client_context(who("client"), new_authority("other"))
    foreign.verify_mode = ssl.CERT_NONE
    near = End()
    client = Secured(poller, ours, foreign, near)
    server = Secured(poller, theirs, server_context(who("server")), End())
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        await asyncio.gather(client.shake(), server.shake())
    assert server.closed
    # In TLS 1.3 the client's own handshake was complete by then.
    await until(lambda: near.lost)
    assert "ALERT" in str(near.lost[0])


async def test_an_end_within_the_handshake(poller: Poller) -> None:
    ours, theirs = sockets()
    client = Secured(poller, ours, client_context(who("client")), End())
    theirs.close()
    with pytest.raises(OSError):
        await client.shake()
    assert client.closed


async def test_who_waits_no_more_leaves_nothing_open(poller: Poller) -> None:
    ours, theirs = sockets()
    client = Secured(poller, ours, client_context(who("client")), End())
    waiting = asyncio.ensure_future(client.shake())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ours.fileno() == -1
    assert not poller.watchers
    theirs.close()
