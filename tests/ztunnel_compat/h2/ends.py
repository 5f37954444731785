"""Ends of connections that note what they are told, and a wire between two of them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from ztunnel_compat.h2.connection import Connection, Headers, Role, Settings, Stream
from ztunnel_compat.h2.errors import ConnectionFault

CONNECT: Headers = [(b":method", b"CONNECT"), (b":authority", b"10.0.0.1:80")]
GET: Headers = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":path", b"/"),
    (b":authority", b"a"),
]
POST: Headers = [(b":method", b"POST"), *GET[1:]]
OK: Headers = [(b":status", b"200")]

Event = tuple[Any, ...]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class End:
    """A connection whose handler notes events; data is consumed as it comes.

    react: called with each event, to play the owner's part.
    """

    def __init__(
        self,
        role: Role,
        settings: Settings | None = None,
        react: Callable[[End, Event], None] | None = None,
    ) -> None:
        self.clock = Clock()
        self.connection = Connection(role, self, settings, clock=self.clock)
        self.events: list[Event] = []
        self.react = react
        self.consume = True
        self.fault: ConnectionFault | None = None
        self.connection.start()

    def note(self, *event: Any) -> None:
        self.events.append(event)
        if self.react is not None:
            self.react(self, event)

    def on_request(self, stream: Stream, headers: Headers, end: bool) -> None:
        self.note("request", stream.id, list(headers), end)

    def on_response(self, stream: Stream, headers: Headers, end: bool) -> None:
        self.note("response", stream.id, list(headers), end)

    def on_data(self, stream: Stream, data: bytes | memoryview, end: bool) -> None:
        if self.consume:
            self.connection.consumed(stream, len(data))
        self.note("data", stream.id, bytes(data), end)

    def on_trailers(self, stream: Stream, headers: Headers) -> None:
        self.note("trailers", stream.id, list(headers))

    def on_reset(self, stream: Stream, code: int) -> None:
        self.note("reset", stream.id, int(code))

    def on_writable(self, stream: Stream) -> None:
        self.note("writable", stream.id)

    def on_goaway(self, last_stream: int, code: int) -> None:
        self.note("goaway", last_stream, code)

    def on_pong(self, payload: bytes) -> None:
        self.note("pong", payload)

    def on_closed(self, error: ConnectionFault | None) -> None:
        self.fault = error
        self.note("closed", None if error is None else error.code)

    def take(self) -> bytes:
        """All that is to be written."""
        found = []
        while pieces := self.connection.take_output():
            found += pieces
        return b"".join(found)

    def seen(self, *kinds: str) -> list[Event]:
        return [event for event in self.events if event[0] in kinds]


def pump(one: End, other: End) -> None:
    """Carry bytes both ways until there are none."""
    while True:
        there, back = one.take(), other.take()
        if not there and not back:
            return
        other.connection.receive(there)
        one.connection.receive(back)


def pair(client: Settings | None = None, server: Settings | None = None) -> tuple[End, End]:
    """A client and a server that have greeted each other."""
    ends = End(Role.CLIENT, client), End(Role.SERVER, server)
    pump(*ends)
    return ends


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """(type, flags, stream, payload) of every frame; a client's preface is dropped."""
    data = data.removeprefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    found = []
    while data:
        word, flags, stream = struct.unpack_from(">IBI", data)
        found.append((word & 0xFF, flags, stream, data[9 : 9 + (word >> 8)]))
        data = data[9 + (word >> 8) :]
    return found
