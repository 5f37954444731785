"""The other node: an HBONE client on the h2 library. It shares no line with ours."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings

from tests.daemon.tunnel.sending import Sending
from tests.support.netns import Netns

PORT = 15008
GOAWAY = 7


class ResetError(Exception):
    """The stream was reset, or its connection is gone."""


class CallerStream(Sending):
    """One CONNECT as its client sees it."""

    failure = ResetError

    def __init__(self, caller: Caller, number: int) -> None:
        super().__init__(caller, number)
        self.caller = caller
        self.answer: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
        self.events: asyncio.Queue[bytes | str | None] = asyncio.Queue()

    async def headers(self) -> dict[str, str]:
        async with asyncio.timeout(20):
            return await asyncio.shield(self.answer)

    async def status(self) -> int:
        return int((await self.headers())[":status"])

    async def read(self) -> bytes:
        """Bytes, b"" at the end; raises ResetError."""
        async with asyncio.timeout(20):
            event = await self.events.get()
        if isinstance(event, str):
            raise ResetError(event)
        if event is None:
            return b""
        if not self.gone:
            self.caller.h2.acknowledge_received_data(len(event), self.number)
            self.caller.flush()
        return event

    async def exactly(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            data = await self.read()
            assert data, f"an end after {len(found)} bytes of {size}"
            found += data
        return bytes(found)

    async def rest(self) -> bytes:
        found = bytearray()
        while data := await self.read():
            found += data
        return bytes(found)

    def reset(self, code: h2.errors.ErrorCodes = h2.errors.ErrorCodes.CANCEL) -> None:
        self.caller.h2.reset_stream(self.number, code)
        self.caller.flush()

    def lost(self, why: str) -> None:
        if not self.gone:
            self.gone = True
            self.window.set()
            self.events.put_nowait(why)
            if not self.answer.done():
                self.answer.set_exception(ResetError(why))
                self.answer.exception()


class Caller(asyncio.Protocol):
    """One connection of the client's."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.h2.local_settings = h2.settings.Settings(
            client=True,
            initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 256 * 1024},
        )
        self.streams: dict[int, CallerStream] = {}
        #: Codes of GOAWAY frames.
        self.goaways: list[int] = []
        self.received = b""
        self.settings = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(1 << 24)
        self.flush()

    def connect(
        self, authority: str, *more: tuple[str, str], end: bool = False
    ) -> CallerStream:
        """Ask for a connection."""
        return self.ask([(":method", "CONNECT"), (":authority", authority), *more], end=end)

    def ask(self, headers: list[tuple[str, str]], *, end: bool = False) -> CallerStream:
        number = self.h2.get_next_available_stream_id()
        self.h2.send_headers(number, headers, end_stream=end)
        stream = self.streams[number] = CallerStream(self, number)
        self.flush()
        return stream

    def flush(self) -> None:
        if not self.closed.is_set():
            self.transport.write(self.h2.data_to_send())

    def pause_writing(self) -> None:
        self.room.clear()

    def resume_writing(self) -> None:
        self.room.set()

    def data_received(self, data: bytes) -> None:
        self.received += data
        for event in self.h2.receive_data(self.without_goaway()):
            self.take(event)
        self.flush()

    def without_goaway(self) -> bytes:
        """Whole frames that came. The library ends with a GOAWAY; a drain doesn't."""
        whole = bytearray()
        while len(self.received) >= 9:
            end = 9 + int.from_bytes(self.received[:3], "big")
            if len(self.received) < end:
                break
            frame, self.received = self.received[:end], self.received[end:]
            if frame[3] == GOAWAY:
                self.goaways.append(int.from_bytes(frame[13:17], "big"))
            else:
                whole += frame
        return bytes(whole)

    def take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RemoteSettingsChanged():
                self.settings.set()
                self.widen()
            case h2.events.WindowUpdated():
                self.widen()
            case h2.events.ResponseReceived():
                self.streams[event.stream_id].answer.set_result(dict(event.headers))
            case h2.events.DataReceived():
                if event.data:
                    self.streams[event.stream_id].events.put_nowait(event.data)
            case h2.events.StreamEnded():
                self.streams[event.stream_id].events.put_nowait(None)
            case h2.events.StreamReset():
                code = h2.errors.ErrorCodes(event.error_code).name
                self.streams[event.stream_id].lost(code)

    def widen(self) -> None:
        for stream in self.streams.values():
            stream.window.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()
        self.room.set()
        for stream in self.streams.values():
            stream.lost("connection lost")


@contextlib.asynccontextmanager
async def calling(
    client: Netns, address: str, context: ssl.SSLContext, server_name: str = ""
) -> AsyncIterator[Caller]:
    """A connection from a namespace; raises OSError when TLS isn't had."""
    caller = await call(client, address, context, server_name)
    try:
        yield caller
    finally:
        caller.transport.abort()
        await caller.closed.wait()


async def call(
    client: Netns, address: str, context: ssl.SSLContext, server_name: str = ""
) -> Caller:
    loop = asyncio.get_running_loop()
    family = 10 if ":" in address else 2
    opened = client.open_socket(family)
    opened.setblocking(False)
    await loop.sock_connect(opened, (address, PORT))
    _, caller = await loop.create_connection(
        Caller, sock=opened, ssl=context, server_hostname=server_name
    )
    return caller
