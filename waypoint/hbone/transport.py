"""A stream as an asyncio transport: what serves connections can't tell the difference.

An end is END_STREAM, a reset RST_STREAM with CONNECT_ERROR (RFC 9113 section 8.5; ztunnel
takes CANCEL for an end). Bytes count as taken when a protocol got them: one that stops
reading holds its own stream's window, and no other's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from waypoint.hbone.connection import QUEUE_HIGH, QUEUE_LOW, HboneConnection
from ztunnel_compat.h2.codes import ErrorCode
from ztunnel_compat.h2.streams import Stream
from ztunnel_compat.hbone import Headers

#: Seconds that the far side may take to say its own end after ours (the kernel's
#: tcp_fin_timeout).
FIN_TIMEOUT: Final = 60.0


class StreamTransport(asyncio.Transport):
    """One stream, in the role of either end; it owns the stream.

    Reading is paused until who gets it resumes it: what comes before that waits, with
    the stream's window as its bound. extra: what get_extra_info() answers.
    """

    def __init__(
        self, connection: HboneConnection, stream: Stream, extra: Mapping[str, Any]
    ) -> None:
        super().__init__(extra)
        self.connection = connection
        self.stream = stream
        self.protocol: asyncio.Protocol | None = None
        self.paused = True
        #: What came while nobody read.
        self.waiting: deque[bytes] = deque()
        #: The far side has said all, and whether the protocol knows.
        self.ended = self.told_end = False
        self.eof_written = False
        self.closing = False
        self.lost = False
        #: When the protocol was told that it is over.
        self.lost_at = 0.0
        self.write_paused = False
        self.high = QUEUE_HIGH
        stream.data = self

    # For protocols

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Who is told from now on."""
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who is told."""
        assert self.protocol is not None, "nobody yet, or nobody any more"
        return self.protocol

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self.closing

    def is_reading(self) -> bool:
        """Whether data is passed on as it comes."""
        return not self.paused and not self.closing

    def pause_reading(self) -> None:
        """Pass nothing on; the far side may fill its window."""
        self.paused = True

    def resume_reading(self) -> None:
        """Pass on what has come, and what comes."""
        if self.paused and not self.closing:
            self.paused = False
            if self.waiting or self.ended:
                self.connection.loop.call_soon(self.deliver)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Where pause_writing is called; not below what HTTP/2 keeps of a stream anyway."""
        self.high = QUEUE_HIGH if high is None else max(high, QUEUE_HIGH)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The marks: low, high."""
        return QUEUE_LOW, self.high

    def get_write_buffer_size(self) -> int:
        """Bytes that the far side hasn't made room for, or the socket not."""
        return self.stream.queued + self.connection.backlog

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, or keep them until there is room."""
        if self.eof_written and not self.closing:
            raise RuntimeError("write() after write_eof()")
        if self.closing or not data:
            return
        queued = self.connection.send_data(self.stream, bytes(data))
        if queued > self.high and not self.write_paused:
            self.write_paused = True
            self.get_protocol().pause_writing()

    def can_write_eof(self) -> bool:
        """A stream's directions end each by itself."""
        return True

    def write_eof(self) -> None:
        """Say that nothing follows what was written."""
        if not self.eof_written and not self.closing:
            self.eof_written = True
            self.connection.send_data(self.stream, b"", end=True)

    def close(self) -> None:
        """End it once what was written has left; nothing more is read."""
        if self.closing:
            return
        self.write_eof()
        self.closing = True
        self.drop_waiting()
        self.connection.leave(self)

    def abort(self) -> None:
        """Reset it; what was written may be lost."""
        if not self.lost:
            self.closing = True
            self.drop_waiting()
            self.connection.reset(self.stream, ErrorCode.CONNECT_ERROR)
            self.connection.loop.call_soon(self.finish, None)

    # For the connection

    def on_response(self, headers: Headers, end: bool) -> None:
        """Whoever asked for the stream has read the answer."""

    def on_data(self, data: bytes | memoryview, end: bool) -> None:
        """Pass bytes on, or keep them within the stream's window."""
        self.ended = self.ended or end
        if self.closing:
            self.refuse(len(data))
        elif self.paused or self.waiting:
            if data:
                self.waiting.append(bytes(data))
        else:
            if data:
                self.give(bytes(data))
            if self.ended:
                self.deliver()

    def on_reset(self, code: int, why: str) -> None:
        """The far side, or the connection, broke it."""
        self.closing = True
        self.waiting.clear()
        self.connection.loop.call_soon(self.finish, ConnectionResetError(why))

    def on_writable(self) -> None:
        """What was written has left, mostly."""
        if self.write_paused and not self.lost:
            self.write_paused = False
            if self.protocol is not None:
                self.protocol.resume_writing()

    def on_tick(self, now: float) -> None:
        """A far side that never says its end doesn't keep the stream."""
        if self.lost and now - self.lost_at >= FIN_TIMEOUT:
            self.connection.reset(self.stream, ErrorCode.CONNECT_ERROR)

    def flushed(self) -> bool:
        """Whether what was written before close() has left; tells the protocol."""
        if not self.connection.closed and not (
            self.stream.local_closed or self.stream.finished
        ):
            return False
        self.finish(None)
        return True

    # Within

    def deliver(self) -> None:
        """Pass on what waited, as long as it is read."""
        while self.waiting and self.is_reading():
            self.give(self.waiting.popleft())
        if self.ended and not self.told_end and not self.waiting and self.is_reading():
            self.told_end = True
            if not self.call(lambda protocol: protocol.eof_received()):
                self.close()

    def give(self, data: bytes) -> None:
        """Let the protocol have bytes, and the far side send as many."""
        self.call(lambda protocol: protocol.data_received(data))
        self.connection.consumed(self.stream, len(data))

    def call(self, what: Any) -> Any:
        """Call the protocol: a fault of its own breaks this stream, and no other."""
        if self.protocol is None:
            return None
        try:
            return what(self.protocol)
        except Exception as error:  # noqa: BLE001 - as transports do
            self.connection.loop.call_exception_handler(
                {
                    "message": "a protocol failed on a stream",
                    "exception": error,
                    "transport": self,
                    "protocol": self.protocol,
                }
            )
            self.abort()
            return None

    def drop_waiting(self) -> None:
        """Nobody will read it."""
        self.connection.consumed(self.stream, sum(map(len, self.waiting)))
        self.waiting.clear()

    def refuse(self, count: int) -> None:
        """Bytes for who has closed: they come to nothing, as in TCP a reset says."""
        self.connection.consumed(self.stream, count)
        if count and self.lost:
            self.connection.reset(self.stream, ErrorCode.CONNECT_ERROR)

    def finish(self, error: Exception | None) -> None:
        """Tell the protocol that it is over, once; the far side may take its time."""
        if self.lost:
            return
        self.lost = True
        self.lost_at = self.connection.loop.time()
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connection_lost(error)
