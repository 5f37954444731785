"""An HTTP/2 connection on a transport: what is read, and one joined write per turn."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import cast

from waypoint.cluster_settings import HttpSettings
from waypoint.worker import Worker
from ztunnel_compat.h2.codes import Role
from ztunnel_compat.h2.connection import Connection
from ztunnel_compat.h2.errors import ConnectionFault
from ztunnel_compat.h2.settings import Settings
from ztunnel_compat.h2.streams import Stream

KIB = 1024
#: What a stream may hold here, in each direction, whatever its ends do.
HELD = 256 * KIB
#: That is what is queued when its source is told to stop, and what comes all the same: of
#: a connection in HTTP/2 the window that was given, of one in HTTP/1.1 a read (uvloop's).
QUEUE = 4 * KIB
WINDOW = 192 * KIB
READ = 256_000
#: Beyond this it is a mistake of ours, and an error.
BOUND = 2 * HELD
#: Streams that a client may have, as Envoy announces it.
STREAMS = 1024

SERVER = Settings(
    stream_window=WINDOW,
    connection_window=16 * 1024 * KIB,
    max_frame=16 * KIB,
    header_list_limit=60 * KIB,
    max_streams=STREAMS,
    connect_protocol=True,
    queue_high=QUEUE,
    queue_low=QUEUE // 2,
    queue_bound=BOUND,
)
CLIENT = Settings(
    stream_window=WINDOW,
    connection_window=16 * 1024 * KIB,
    max_frame=16 * KIB,
    header_list_limit=60 * KIB,
    queue_high=QUEUE,
    queue_low=QUEUE // 2,
    queue_bound=BOUND,
)


def client_settings(http: HttpSettings) -> Settings:
    """Ours toward endpoints of a cluster."""
    if http.stream_window is None and http.connection_window is None:
        return CLIENT
    return replace(
        CLIENT,
        stream_window=http.stream_window or CLIENT.stream_window,
        connection_window=http.connection_window or CLIENT.connection_window,
    )


class Wire(asyncio.Protocol, ABC):
    """One connection; the sans-I/O half is http, whose handler it is."""

    __slots__ = (
        "active", "deadline", "flushing", "http", "paused", "paused_at", "tick", "transport",
        "worker",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, worker: Worker, role: Role, settings: Settings) -> None:
        self.worker = worker
        self.http = Connection(role, self, settings, clock=worker.time)  # type: ignore[arg-type]
        #: Whether the peer reads too slowly, and since when.
        self.paused = False
        self.paused_at = 0.0
        #: Whether it is among those that are written to at the end of this turn.
        self.flushing = False
        #: Set by whatever moves bytes; the wheel's look clears it.
        self.active = False
        self.deadline = 0.0
        self.tick = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is up."""
        self.transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=self.worker.limits.write_buffer)
        self.http.start()
        self.flush_soon()

    def data_received(self, data: bytes) -> None:
        """Take frames; what they bring about is written at the end of the turn."""
        self.active = True
        self.http.receive(data)
        self.flush_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and all streams with it."""
        self.worker.wheel.remove(self)
        self.http.lost()

    def pause_writing(self) -> None:
        """The peer reads too slowly: streams queue up, and tell their sources."""
        self.paused = True
        self.paused_at = self.worker.time()

    def resume_writing(self) -> None:
        """It caught up."""
        self.paused = False
        self.flush_soon()

    def flush_soon(self) -> None:
        """Write at the end of this turn what there is by then."""
        if not self.flushing:
            self.flushing = True
            self.worker.flush_soon(self)

    def flush(self) -> None:
        """Write what there is, unless the transport is full."""
        self.flushing = False
        transport = self.transport
        http = self.http
        if transport.is_closing():
            return
        while not self.paused and (pieces := http.take_output()):
            transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if http.closed or http.drained:
            self.ended()

    def ended(self) -> None:
        """No stream is open and none will be: the last words were written."""
        self.transport.close()

    @abstractmethod
    def due(self, now: float) -> float | None:
        """Act on a deadline; see timers."""

    # What the handler needn't do on either side

    def on_pong(self, payload: bytes) -> None:
        """Nobody asked."""

    def on_closed(self, error: ConnectionFault | None) -> None:
        """The connection is over: write the last words, unless nobody reads any."""
        if error is not None:
            self.worker.stats.http2_faults += 1
            if self.paused:
                self.transport.abort()
            else:
                self.flush_soon()


class Credit:
    """What one stream's sender is owed: content that its reader has no room for yet."""

    __slots__ = ("holds", "owed", "stream", "wire")

    def __init__(self, wire: Wire, stream: Stream) -> None:
        self.wire = wire
        self.stream = stream
        #: Reasons not to give credit: bits, see waypoint.holds.
        self.holds = 0
        self.owed = 0

    def passed(self, size: int) -> None:
        """Content went on: its sender may send as much again, once there is room."""
        if self.holds:
            self.owed += size
        else:
            self.wire.http.consumed(self.stream, size)

    def hold(self, why: int) -> None:
        """Give no credit for now."""
        self.holds |= why

    def release(self, why: int) -> None:
        """One reason less not to."""
        self.holds &= ~why
        if not self.holds and self.owed:
            self.wire.http.consumed(self.stream, self.owed)
            self.owed = 0
            self.wire.flush_soon()
