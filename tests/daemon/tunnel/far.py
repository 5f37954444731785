"""The other end of tunnels: an HBONE server on the h2 library, on loopback.

It shares no line with ours: what both understand is HTTP/2.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hyperframe.frame

from tests.daemon.tunnel.pki import server_context, who
from tests.daemon.tunnel.sending import Sending


class FarResetError(Exception):
    """The client reset the stream, or its connection is gone."""


class FarStream(Sending):
    """One CONNECT as the server sees it."""

    failure = FarResetError

    def __init__(self, connection: FarConnection, number: int, headers: dict[str, str]) -> None:
        super().__init__(connection, number)
        self.connection = connection
        self.headers = headers
        self.events: asyncio.Queue[bytes | int | None] = asyncio.Queue()
        #: Bytes that arrived and weren't read.
        self.held = 0

    def respond(self, status: int = 200, *, end: bool = False) -> None:
        self.connection.h2.send_headers(self.number, [(":status", str(status))], end)
        self.connection.flush()

    async def read(self) -> bytes:
        """Bytes, b"" at the end; raises FarResetError."""
        event = await self.events.get()
        if isinstance(event, int):
            raise FarResetError(h2.errors.ErrorCodes(event).name)
        if event is None:
            return b""
        self.held -= len(event)
        if not self.gone:
            with contextlib.suppress(h2.exceptions.ProtocolError):
                self.connection.h2.acknowledge_received_data(len(event), self.number)
        self.connection.flush()
        return event

    async def read_all(self) -> bytes:
        found = bytearray()
        while data := await self.read():
            found += data
        return bytes(found)

    def reset(self, code: h2.errors.ErrorCodes = h2.errors.ErrorCodes.CONNECT_ERROR) -> None:
        self.connection.h2.reset_stream(self.number, code)
        self.connection.flush()

    def lost(self, code: int) -> None:
        self.gone = True
        self.window.set()
        self.events.put_nowait(code)


Handler = Callable[[FarStream], Awaitable[None]]


class FarConnection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, far: Far) -> None:
        self.far = far
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.streams: dict[int, FarStream] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.room = asyncio.Event()
        self.room.set()
        self.closed = asyncio.Event()
        self.pings = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.far.connections.append(self)
        self.h2.local_settings = h2.settings.Settings(
            client=False, initial_values=self.far.settings
        )
        self.h2.initiate_connection()
        # A stream that isn't read must not stop the others here.
        self.h2.increment_flow_control_window(1 << 24)
        self.flush()

    def flush(self) -> None:
        if not self.far.mute and not self.closed.is_set():
            self.transport.write(self.h2.data_to_send())

    def pause_writing(self) -> None:
        self.room.clear()

    def resume_writing(self) -> None:
        self.room.set()

    def data_received(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            self.take(event)
        self.flush()

    def take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                stream = FarStream(
                    self,
                    event.stream_id,
                    {str(name): str(value) for name, value in event.headers},
                )
                self.streams[event.stream_id] = stream
                self.far.requests.append(stream.headers)
                task = asyncio.ensure_future(self.serve(stream))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
            case h2.events.DataReceived():
                # Empty frames carry an end and nothing else.
                if event.data:
                    stream = self.streams[event.stream_id]
                    stream.held += len(event.data)
                    stream.events.put_nowait(event.data)
            case h2.events.StreamEnded():
                self.streams[event.stream_id].events.put_nowait(None)
            case h2.events.StreamReset():
                self.streams[event.stream_id].lost(event.error_code)
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                for stream in self.streams.values():
                    stream.window.set()
            case h2.events.PingReceived():
                self.pings += 1
            case h2.events.ConnectionTerminated():
                self.far.goaways.append(int(event.error_code or 0))

    async def serve(self, stream: FarStream) -> None:
        with contextlib.suppress(FarResetError):
            await self.far.handler(stream)

    def goaway(self, last: int) -> None:
        # The library closes at once when it is asked to; frames of its own don't.
        frame = hyperframe.frame.GoAwayFrame(0, last_stream_id=last)
        self.flush()
        self.transport.write(frame.serialize())

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()
        self.room.set()
        for stream in self.streams.values():
            stream.lost(h2.errors.ErrorCodes.INTERNAL_ERROR)
        for task in self.tasks:
            task.cancel()


async def echo(stream: FarStream) -> None:
    """Answer, and send back what comes, to its end."""
    stream.respond()
    while data := await stream.read():
        await stream.write(data)
    stream.end()


class Far:
    """The server; handler: what is done with each CONNECT."""

    def __init__(self, handler: Handler = echo) -> None:
        self.handler = handler
        self.connections: list[FarConnection] = []
        self.requests: list[dict[str, str]] = []
        self.goaways: list[int] = []
        #: Nothing is written any more.
        self.mute = False
        self.settings: dict[h2.settings.SettingCodes, int] = {
            h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 256 * 1024,
            h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 200,
        }
        self.port = 0

    @property
    def tunnels(self) -> list[FarStream]:
        return [stream for c in self.connections for stream in c.streams.values()]


@contextlib.asynccontextmanager
async def far_side(
    handler: Handler = echo, context: ssl.SSLContext | None = None
) -> AsyncIterator[Far]:
    far = Far(handler)
    server = await asyncio.get_running_loop().create_server(
        lambda: FarConnection(far),
        "127.0.0.1",
        0,
        ssl=context or server_context(who("server")),
    )
    far.port = server.sockets[0].getsockname()[1]
    try:
        yield far
    finally:
        server.close()
        for connection in far.connections:
            connection.transport.abort()
        await asyncio.gather(*(c.closed.wait() for c in far.connections))
