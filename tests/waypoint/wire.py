"""The two ends of a connection through the waypoint, as tests play them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.waypoint.mesh import Mesh

Handler = Callable[["Peer"], Awaitable[None]]
#: No test waits longer than this for anything, in seconds.
PATIENCE = 5.0


@dataclass(eq=False)
class Peer:
    """One end of a real connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until(self, mark: bytes) -> bytes:
        """Read up to and with a mark."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(mark)

    async def exactly(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        """Everything up to the end; raises ConnectionResetError for a reset."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    async def head(self) -> bytes:
        return await self.until(b"\r\n\r\n")

    async def response(self) -> tuple[bytes, bytes]:
        """A response's head, in lower case, and a body of a known length or chunks."""
        head = (await self.head()).lower()
        if b"transfer-encoding: chunked" in head:
            return head, await self.until(b"\r\n\r\n")
        marker = b"content-length: "
        if marker not in head:
            return head, b""
        size = int(head.split(marker)[1].split(b"\r\n")[0])
        return head, await self.exactly(size)

    async def get(self, path: str = "/", *lines: str) -> tuple[bytes, bytes]:
        """A request without a body, and its response."""
        await self.send(request(path, *lines))
        return await self.response()

    def reset(self) -> None:
        """Close so that the other end sees an error."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


def request(path: str = "/", *lines: str, method: str = "GET", body: bytes = b"") -> bytes:
    """A request's bytes; lines: more headers."""
    block = "".join(f"{line}\r\n" for line in lines)
    return f"{method} {path} HTTP/1.1\r\nHost: web\r\n{block}\r\n".encode() + body


def ok(body: bytes = b"hello", *lines: str) -> bytes:
    """A response's bytes."""
    block = "".join(f"{line}\r\n" for line in lines)
    return f"HTTP/1.1 200 OK\r\n{block}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Upstream:
    """A server that tests write; heads: requests' heads as they arrived."""

    port: int = 0
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0

    def answering(self, *answers: bytes) -> Handler:
        """Answers requests without bodies: each in turn, the last one for ever."""
        left = list(answers)

        async def handle(peer: Peer) -> None:
            while True:
                try:
                    self.heads.append(await peer.reader.readuntil(b"\r\n\r\n"))
                except asyncio.IncompleteReadError:
                    return
                await peer.send(left.pop(0) if len(left) > 1 else left[0])

        return handle


@asynccontextmanager
async def upstream(handle: Handler | None = None, *answers: bytes) -> AsyncIterator[Upstream]:
    """A server on a free port of 127.0.0.1."""
    made = Upstream()
    handler = handle or made.answering(*(answers or (ok(),)))
    peers: set[Peer] = set()
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        peers.add(peer)
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        made.connections += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await handler(peer)
        finally:
            writer.close()
            peers.discard(peer)
            running.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for peer in list(peers):
            peer.writer.transport.abort()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def dial(mesh: Mesh, host: str = "127.0.0.1") -> Peer:
    """A client's connection to the waypoint."""
    return Peer(*await asyncio.open_connection(host, mesh.port))


@asynccontextmanager
async def client(mesh: Mesh, host: str = "127.0.0.1") -> AsyncIterator[Peer]:
    """A client's connection, closed at the end."""
    peer = await dial(mesh, host)
    try:
        yield peer
    finally:
        await peer.close()
