"""Readiness: real servers on loopback, verdicts as values."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from deploy.standalone.runner.probe import STARTUP_PERIOD, Prober, Verdict, watch
from deploy.standalone.runner.spec import Readiness

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def make_here(family: int) -> socket.socket:
    return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)


PROBER = Prober(make_here)


@asynccontextmanager
async def serving(handler: Handler, host: str = "127.0.0.1") -> AsyncIterator[int]:
    async def close_after(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(close_after, host, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def answer(text: bytes) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text)
        await writer.drain()

    return handler


async def silence(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.0 204\r\n\r\n", ""),
        (b"HTTP/1.1 302 Found\r\nlocation: /x\r\n\r\n", ""),
        (b"HTTP/1.1 399 ?\r\n\r\n", ""),
        (b"HTTP/1.1 400 Bad\r\n\r\n", "status 400"),
        (b"HTTP/1.1 503 No\r\n\r\n", "status 503"),
        (b"HTTP/1.1 199 ?\r\n\r\n", "status 199"),
        (b"220 smtp ready\r\n", "no HTTP answer"),
        (b"", "no HTTP answer"),
        (b"x" * 9000, "chunk"),
    ],
)
async def test_http(text: bytes, failure: str) -> None:
    async with serving(answer(text)) as port:
        found = await PROBER.check(Readiness("http", port), "127.0.0.1")
    assert failure in found
    assert bool(found) == bool(failure)


async def test_http_asks_for_the_path_by_the_pods_address() -> None:
    asked: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    async with serving(handler, "::1") as port:
        assert await PROBER.check(Readiness("http", port, "/ok?x=1"), "::1") == ""
    assert asked[0].startswith(b"GET /ok?x=1 HTTP/1.1\r\n")
    assert f"Host: [::1]:{port}\r\n".encode() in asked[0]


async def test_time_is_limited() -> None:
    async with serving(silence) as port:
        found = await PROBER.check(Readiness("http", port, timeout=0.05), "127.0.0.1")
    assert found == "no answer within 0.05 s"


async def test_tcp_and_a_closed_port() -> None:
    async with serving(silence) as port:
        assert await PROBER.check(Readiness("tcp", port), "127.0.0.1") == ""
    assert await PROBER.check(Readiness("tcp", port), "127.0.0.1") == "Connection refused"


def test_thresholds() -> None:
    verdict = Verdict(Readiness("tcp", 1, success_threshold=2, failure_threshold=3))
    results = [True, False, True, True, False, False, True, False, False, False, True, True]
    assert [verdict.observe(result) for result in results] == [
        *(False, False, False, True),
        *(True, True, True, True, True, False),
        *(False, True),
    ]


def test_probes_come_quickly_until_the_first_success() -> None:
    verdict = Verdict(Readiness("tcp", 1, period=10))
    assert verdict.period == STARTUP_PERIOD
    verdict.observe(False)
    assert verdict.period == STARTUP_PERIOD
    verdict.observe(True)
    assert verdict.period == 10
    for _ in range(3):
        verdict.observe(False)
    assert verdict.period == 10


async def test_watch_tells_each_result() -> None:
    told: list[tuple[bool, str]] = []
    results = iter(["refused", "", ""])
    done = asyncio.Event()

    async def check() -> str:
        try:
            return next(results)
        except StopIteration:
            done.set()
            await asyncio.sleep(60)
            raise

    readiness = Readiness("tcp", 1, period=0.001)
    watching = asyncio.ensure_future(watch(readiness, check, lambda *a: told.append(a)))
    await done.wait()
    watching.cancel()
    assert told == [(False, "readiness probe: refused"), (True, ""), (True, "")]
