"""An attack beside a bystander: what it cost the waypoint, and that others were served."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.waypoint.wire import Handler, Peer, request, upstream
from tests.ztunnel_compat.h2.ends import frame, frames
from ztunnel_compat.h2.codes import HEADERS, PREFACE, SETTINGS
from ztunnel_compat.h2.encoder import Encoder
from ztunnel_compat.h2.section import Section

MIB = 1024 * 1024
#: What an attack may cost at most: as much CPU time as so many plain requests, which the
#: bystander makes on the same waypoint, and so much memory.
REQUESTS = 10_000
MEMORY = 48 * MIB
#: Plain requests by which the price of one is known.
PLAIN = 300


@dataclass
class Gate:
    """The waypoint's process."""

    process: asyncio.subprocess.Process
    port: int
    price: float = 0.0
    served: int = 0
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def figures(self) -> dict[str, Any]:
        """What it holds and has used."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        async with self.asking, asyncio.timeout(20):
            self.process.stdin.write(b"\n")
            return dict(json.loads(await self.process.stdout.readline()))

    async def dial(self, *, room: int = 0) -> Peer:
        """A client's connection; room: a small receive buffer, for who won't read."""
        sock = socket.socket()
        if room:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        return Peer(*await asyncio.open_connection(sock=sock))

    async def plain(self, count: int) -> None:
        """Requests as anybody makes them, each answered."""
        peer = await self.dial()
        try:
            for _ in range(count):
                head, _body = await peer.get("/bystander", "x-request-id: 1")
                assert head.startswith(b"http/1.1 200 ")
                self.served += 1
        finally:
            peer.writer.transport.abort()

    @asynccontextmanager
    async def attack(
        self, *, memory: int = MEMORY, requests: int = REQUESTS
    ) -> AsyncIterator[None]:
        """Others are served while it lasts, and it costs no more than it may."""
        before = await self.figures()
        served = self.served
        task = asyncio.create_task(self.bystand())
        try:
            yield
            seen = self.served
            async with asyncio.timeout(10):
                while self.served < max(seen, served) + 3:
                    await asyncio.sleep(0.005)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        after = await self.figures()
        spent = after["cpu"] - before["cpu"] - (self.served - served) * self.price
        assert spent <= requests * self.price, f"{spent / self.price:.0f} requests' CPU time"
        assert after["resident"] - before["resident"] <= memory

    async def bystand(self) -> None:
        """A client that has nothing to do with it."""
        while True:
            await self.plain(1)
            await asyncio.sleep(0.002)

    async def settled(self) -> dict[str, Any]:
        """Figures once no client is there any more."""
        async with asyncio.timeout(10):
            while (found := await self.figures())["clients"]:
                await asyncio.sleep(0.02)
        assert (found["active"], found["streams"]) == (0, 0)
        return found


@asynccontextmanager
async def gate(
    port: int, calm: int, *, speaks: int = 1, **limits: float
) -> AsyncIterator[Gate]:
    """A waypoint in front of what listens on a port; calm: where the bystander's is."""
    settings = {"port": port, "calm": calm, "speaks": speaks, "limits": limits}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.attacks.gate", json.dumps(settings)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        async with asyncio.timeout(30):
            made = Gate(process, int(await process.stdout.readline()))
        yield made
        # Nothing that came may have ended it.
        await made.figures()
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(10):
                assert await process.wait() == 0
        except TimeoutError:
            process.kill()
            await process.wait()
            raise


@asynccontextmanager
async def besieged(
    handle: Handler | None = None,
    *,
    speaks: int = 1,
    price: bool = True,
    **limits: float,
) -> AsyncIterator[Gate]:
    """A waypoint and its upstream; price: find out that of a plain request there."""
    async with (
        upstream(handle) as server,
        upstream() as calm,
        gate(server.port, calm.port, speaks=speaks, **limits) as made,
    ):
        if price:
            await made.plain(50)
            before = await made.figures()
            await made.plain(PLAIN)
            made.price = ((await made.figures())["cpu"] - before["cpu"]) / PLAIN
        yield made


def opening(*settings: tuple[int, int]) -> bytes:
    """A client's preface and settings."""
    entries = b"".join(k.to_bytes(2, "big") + v.to_bytes(4, "big") for k, v in settings)
    return PREFACE + frame(SETTINGS, 0, 0, entries)


def head(
    path: bytes = b"/", *more: tuple[bytes, bytes], method: bytes = b"GET"
) -> list[tuple[bytes, bytes]]:
    """A request's fields."""
    start = [(b":method", method), (b":scheme", b"http"), (b":path", path)]
    return [*start, (b":authority", b"web"), *more]


def block(*fields: tuple[bytes, bytes]) -> bytes:
    """Fields as a block of their own, good at any time."""
    return Encoder().encode(Section.of(list(fields or head())))


def headers(stream: int, *fields: tuple[bytes, bytes], end: bool = True) -> bytes:
    """A HEADERS frame."""
    return frame(HEADERS, 5 if end else 4, stream, block(*fields))


async def pour(peer: Peer, data: bytes) -> bool:
    """Send what the waypoint takes of it; whether it took all."""
    try:
        async with asyncio.timeout(15):
            await peer.send(data)
    except (OSError, RuntimeError):
        # uvloop's word for a transport that has seen the reset already.
        return False
    return True


async def remains(peer: Peer) -> bytes:
    """What the waypoint still says until it closes; a reset ends it too."""
    found = b""
    with contextlib.suppress(OSError):
        async with asyncio.timeout(15):
            while data := await peer.reader.read(65536):
                found += data
    return found


def raw(*lines: str, body: bytes = b"", method: str = "POST") -> bytes:
    """A request's bytes, its Host included."""
    return request("/", *lines, method=method, body=body)


def frames_of(said: bytes) -> list[tuple[int, int, int, bytes]]:
    """The whole frames of what was said."""
    position = 0
    while position + 9 <= len(said):
        size = 9 + int.from_bytes(said[position : position + 3], "big")
        if position + size > len(said):
            break
        position += size
    return frames(said[:position])
