"""Hand-made HTTP/2: both ends of the waypoint played with the h2 library."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from tests.waypoint.mesh import Mesh
from tests.waypoint.wire import PATIENCE, Peer, dial
from tests.waypoint.wire import Upstream as Served
from tests.waypoint.wire import upstream as serve_bytes

E = TypeVar("E", bound=h2.events.Event)
Fields = list[tuple[bytes, bytes]]


def fields(path: str = "/", *more: tuple[str, str], method: str = "GET") -> Fields:
    """A request's field section."""
    pairs = (
        (":method", method), (":scheme", "http"), (":authority", "web"), (":path", path), *more,
    )  # fmt: skip
    return [(name.encode(), value.encode()) for name, value in pairs]


class H2:
    """One end of a connection; events that came and weren't asked for yet are kept."""

    def __init__(self, peer: Peer, *, client: bool, checks: bool = True) -> None:
        self.peer = peer
        config = h2.config.H2Configuration(
            client_side=client,
            header_encoding=False,
            validate_outbound_headers=checks,
            normalize_outbound_headers=checks,
        )
        self.conn = h2.connection.H2Connection(config)
        self.events: list[h2.events.Event] = []
        #: Whether what comes is credited at once.
        self.credits = True

    async def start(self, settings: dict[int, int] | None = None) -> None:
        if settings:
            self.conn.local_settings = h2.settings.Settings(
                client=self.conn.config.client_side, initial_values=settings
            )
        self.conn.initiate_connection()
        await self.flush()

    async def flush(self) -> None:
        await self.peer.send(self.conn.data_to_send())

    async def send(self, stream: int, headers: Fields, *, end: bool = False) -> None:
        self.conn.send_headers(stream, headers, end_stream=end)
        await self.flush()

    async def data(self, stream: int, data: bytes, *, end: bool = False) -> None:
        self.conn.send_data(stream, data, end_stream=end)
        await self.flush()

    async def get(self, path: str = "/", *more: tuple[str, str]) -> int:
        """A request without a body; its stream."""
        stream = self.conn.get_next_available_stream_id()
        await self.send(stream, fields(path, *more), end=True)
        return stream

    async def read(self) -> bool:
        """Take what comes next; False: the connection's end."""
        async with asyncio.timeout(PATIENCE):
            data = await self.peer.reader.read(65536)
        if not data:
            return False
        for event in self.conn.receive_data(data):
            if isinstance(event, h2.events.DataReceived) and self.credits:
                length = event.flow_controlled_length
                if length:
                    self.conn.increment_flow_control_window(length)
                    with contextlib.suppress(h2.exceptions.StreamClosedError):
                        self.conn.increment_flow_control_window(length, event.stream_id)
            self.events.append(event)
        await self.flush()
        return True

    async def next(self, kind: type[E], stream: int | None = None) -> E:
        """The next event of a kind, of a stream."""
        while True:
            for event in self.events:
                if isinstance(event, kind) and stream in {None, getattr(event, "stream_id", 0)}:
                    self.events.remove(event)
                    return event
            assert await self.read(), f"the connection ended before {kind.__name__}"

    async def response(self, stream: int) -> tuple[dict[bytes, bytes], bytes]:
        """A response's head and content."""
        head = await self.next(h2.events.ResponseReceived, stream)
        await self.next(h2.events.StreamEnded, stream)
        return dict(head.headers), self.content(stream)

    def content(self, stream: int) -> bytes:
        """What came of a stream's content."""
        found = [
            e for e in self.events
            if isinstance(e, h2.events.DataReceived) and e.stream_id == stream
        ]  # fmt: skip
        for event in found:
            self.events.remove(event)
        return b"".join(event.data for event in found)


@asynccontextmanager
async def client2(mesh: Mesh, *, checks: bool = True) -> AsyncIterator[H2]:
    """A client's HTTP/2 connection to the waypoint; checks: it is kept from faults."""
    made = H2(await dial(mesh), client=True, checks=checks)
    await made.start()
    try:
        yield made
    finally:
        await made.peer.close()


@asynccontextmanager
async def upstream2(
    handle: Callable[[H2], Awaitable[None]], settings: dict[int, int] | None = None
) -> AsyncIterator[Served]:
    """An HTTP/2 server on a free port of 127.0.0.1."""

    async def serve(peer: Peer) -> None:
        made = H2(peer, client=False)
        await made.start(settings)
        await handle(made)

    async with serve_bytes(serve) as served:
        yield served


async def echo(server: H2) -> None:
    """Answers each request with its method, path and content."""
    bodies: dict[int, bytes] = {}
    heads: dict[int, dict[bytes, bytes]] = {}
    while True:
        while server.events:
            await answer(server, server.events.pop(0), heads, bodies)
        if not await server.read():
            return


async def answer(server: H2, event: Any, heads: Any, bodies: dict[int, bytes]) -> None:
    """One event of echo's."""
    if isinstance(event, h2.events.RequestReceived):
        heads[event.stream_id] = dict(event.headers)
    elif isinstance(event, h2.events.DataReceived):
        bodies[event.stream_id] = bodies.get(event.stream_id, b"") + event.data
    elif isinstance(event, h2.events.StreamEnded):
        stream = event.stream_id
        head = heads.pop(stream)
        text = head[b":method"] + b" " + head[b":path"] + b" " + bodies.pop(stream, b"")
        server.conn.send_headers(stream, [(b":status", b"200"), (b"x-served", b"1")])
        server.conn.send_data(stream, text, end_stream=True)
        await server.flush()
