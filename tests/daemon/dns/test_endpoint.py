"""Datagrams and connections of a pod, with replies that a test gives."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections import Counter
from collections.abc import AsyncIterator, Awaitable

import pytest

from daemon.dns import endpoint as module
from daemon.dns.endpoint import CONNECTIONS, MAX_QUERY, TURN, Endpoint
from daemon.dns.metrics import Bound
from daemon.dns.sockets import PORT, open_sockets
from tests.support.netns import Netns, netns
from tests.support.waiting import until
from ztunnel_compat.runtime.tasks import Tasks


class Echo:
    """Replies with what came; ``later``: not before the event; ``none``: never."""

    def __init__(self) -> None:
        self.refused: Counter[Bound] = Counter()
        self.event = asyncio.Event()
        self.came = 0

    def respond(self, wire: bytes, *, tcp: bool) -> bytes | Awaitable[bytes | None] | None:
        self.came += 1
        if wire.startswith(b"none"):
            return None
        return self.later(wire) if wire.startswith(b"later") else wire

    async def later(self, wire: bytes) -> bytes:
        await self.event.wait()
        return wire

    def refuse(self, bound: Bound) -> None:
        self.refused[bound] += 1


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[Netns, Echo, Endpoint]]:
    async with Tasks() as tasks:
        with netns() as pod:
            echo = Echo()
            made = Endpoint(echo, open_sockets(pod.fd), tasks)
            made.start()
            try:
                yield pod, echo, made
            finally:
                echo.event.set()
                if not made.closing:
                    await made.stop(5)


async def connect(pod: Netns) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    client = pod.open_socket()
    client.connect(("127.0.0.1", PORT))
    client.setblocking(False)
    return await asyncio.open_connection(sock=client)


def framed(wire: bytes) -> bytes:
    return len(wire).to_bytes(2, "big") + wire


async def test_connections_take_several_queries_one_after_the_other() -> None:
    async with serving() as (pod, echo, _):
        reader, writer = await connect(pod)
        writer.write(framed(b"later 1") + framed(b"2"))
        await until(lambda: echo.came == 1)
        echo.event.set()
        assert await reader.readexactly(12) == framed(b"later 1") + framed(b"2")
        writer.write(framed(b"none"))
        assert await reader.read() == b""
        writer.close()


async def test_connections_are_bounded_and_counted() -> None:
    async with serving() as (pod, echo, made):
        opened = [await connect(pod) for _ in range(CONNECTIONS)]
        await until(lambda: len(made.connections) == CONNECTIONS)
        reader, writer = await connect(pod)
        assert await reader.read() == b""
        writer.close()
        assert echo.refused == {Bound.CONNECTIONS: 1}
        for _, one in opened:
            one.close()
        await until(lambda: not made.connections)
        reader, writer = await connect(pod)
        writer.write(framed(b"x"))
        assert await reader.readexactly(3) == framed(b"x")
        writer.close()


async def test_long_queries_are_refused_and_counted() -> None:
    async with serving() as (pod, echo, _):
        reader, writer = await connect(pod)
        writer.write((MAX_QUERY + 1).to_bytes(2, "big"))
        assert await reader.read() == b""
        writer.close()
        with pod.open_socket(kind=module.socket.SOCK_DGRAM) as client:
            client.sendto(bytes(MAX_QUERY + 1), ("127.0.0.1", PORT))
            await until(lambda: echo.refused[Bound.SIZE] == 2)
        assert echo.came == 0


@pytest.mark.parametrize("sent", [b"", b"\0", b"\0\4ab"])
async def test_silent_connections_are_closed_and_counted(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(module, "IDLE", 0.05)
    async with serving() as (pod, echo, _):
        reader, writer = await connect(pod)
        writer.write(sent)
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        assert echo.refused == {Bound.IDLE: 1}
        writer.close()


async def test_a_client_that_reads_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE", 0.2)
    async with serving() as (pod, _, made):
        reader, writer = await connect(pod)
        await until(lambda: made.connections)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(3000):
            writer.write(framed(bytes(MAX_QUERY)))
        await until(lambda: not made.connections)
        writer.transport.abort()


async def test_datagrams_beyond_a_turn_are_taken_too() -> None:
    async with serving() as (pod, echo, _):
        with pod.open_socket(kind=module.socket.SOCK_DGRAM) as client:
            for _ in range(TURN * 3 + 1):
                client.sendto(b"x", ("127.0.0.1", PORT))
            await until(lambda: echo.came == TURN * 3 + 1)


async def test_an_asker_that_is_gone_does_no_harm() -> None:
    async with serving() as (pod, echo, made):
        client = pod.open_socket(kind=module.socket.SOCK_DGRAM)
        client.sendto(b"later", ("127.0.0.1", PORT))
        await until(lambda: echo.came == 1)
        client.close()
        echo.event.set()
        await until(lambda: not made.waiting)
        reader, writer = await connect(pod)
        writer.write(framed(b"x"))
        assert await reader.readexactly(3) == framed(b"x")
        writer.close()


async def test_at_the_end_what_has_come_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE", 3600)
    async with serving() as (pod, echo, made):
        # Accepted or not, with or without a query, and one on its way.
        accepted = [await connect(pod) for _ in range(3)]
        await until(lambda: len(made.connections) == 3)
        (at_work, first), (idle, second), (arriving, third) = accepted
        first.write(framed(b"later"))
        await until(lambda: echo.came == 1)
        waiting = pod.open_socket()
        waiting.connect(("127.0.0.1", PORT))
        waiting.sendall(framed(b"x"))
        ending = asyncio.ensure_future(made.stop(3600))
        await asyncio.sleep(0)
        third.write(framed(b"y"))
        assert await arriving.readexactly(3) == framed(b"y")
        assert await asyncio.to_thread(waiting.recv, 9) == framed(b"x")
        assert await idle.read() == b""
        echo.event.set()
        assert await at_work.readexactly(7) == framed(b"later")
        async with asyncio.timeout(20):
            assert await at_work.read() == b""
            await ending
        for closed in (first, second, third, waiting):
            closed.close()


async def test_at_the_end_datagrams_that_wait_are_answered() -> None:
    async with serving() as (pod, echo, made):
        with pod.open_socket(kind=module.socket.SOCK_DGRAM) as client:
            for number in range(TURN * 2):
                client.sendto(bytes([number]), ("127.0.0.1", PORT))
            assert echo.came == 0
            await made.stop(5)
            assert [client.recv(9) for _ in range(TURN * 2)] == [
                bytes([number]) for number in range(TURN * 2)
            ]


async def test_connections_are_taken_again_when_files_are_free(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "EXHAUSTED", 0.01)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving() as (pod, _, _made):
        client = pod.open_socket()
        client.connect(("127.0.0.1", PORT))
        client.sendall(framed(b"x"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno(), hard))
        try:
            await until(lambda: "no DNS connections for a moment" in caplog.text)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert await asyncio.to_thread(client.recv, 9) == framed(b"x")
        client.close()
