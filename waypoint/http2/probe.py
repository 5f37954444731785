"""One request over HTTP/2 with prior knowledge, of whose answer the status counts."""

from __future__ import annotations

import asyncio
from typing import cast

from ztunnel_compat.h2.codes import Role
from ztunnel_compat.h2.connection import Connection
from ztunnel_compat.h2.errors import ConnectionFault
from ztunnel_compat.h2.fields import Fields, Headers
from ztunnel_compat.h2.streams import Stream


class Probe(asyncio.Protocol):
    """A connection for one request; its status, or an OSError, is in answer."""

    transport: asyncio.Transport

    def __init__(self, headers: Headers, answer: asyncio.Future[int]) -> None:
        self.headers = headers
        self.answer = answer
        self.http = Connection(Role.CLIENT, self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self.transport = cast("asyncio.Transport", transport)
        self.http.start()
        self.http.request(self.headers, end=True)
        self.write()

    def data_received(self, data: bytes) -> None:
        """Take frames, and answer what has to be answered."""
        self.http.receive(data)
        self.write()

    def write(self) -> None:
        """Write what there is."""
        while pieces := self.http.take_output():
            self.transport.writelines(pieces)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.fail()

    def fail(self) -> None:
        """There will be no status."""
        if not self.answer.done():
            self.answer.set_exception(ConnectionResetError())

    # From the connection

    def on_response(self, stream: Stream, headers: Fields, end: bool) -> None:
        """The answer, or what comes before it."""
        status = int(headers[0][1])
        if status >= 200 and not self.answer.done():
            self.answer.set_result(status)

    def on_reset(self, stream: Stream, code: int) -> None:
        """The request was refused."""
        self.fail()

    def on_closed(self, error: ConnectionFault | None) -> None:
        """The connection is over."""
        self.fail()

    def on_request(self, stream: Stream, headers: Fields, end: bool) -> None:
        """Clients get none."""

    def on_data(self, stream: Stream, data: bytes | memoryview, end: bool) -> None:
        """Content, which nobody wants."""

    def on_trailers(self, stream: Stream, headers: Fields) -> None:
        """Trailers, which nobody wants."""

    def on_writable(self, stream: Stream) -> None:
        """There is no more to be written."""

    def on_goaway(self, last_stream: int, code: int) -> None:
        """There are no more requests."""

    def on_pong(self, payload: bytes) -> None:
        """Nobody asked."""


async def status_of(host: str, port: int, headers: Headers) -> int:
    """The status that a request without content gets; raises OSError."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[int] = loop.create_future()
    transport, _ = await loop.create_connection(lambda: Probe(headers, answer), host, port)
    try:
        return await answer
    finally:
        transport.abort()
