"""Sending within the peer's windows: a queue per stream, turns among them.

DATA goes straight to the output while the windows allow it, no other stream waits,
and the output holds less than a burst. Else it waits in its stream's queue until
take(), which gives each stream a frame in turn. So what is under way in the transport
stays small, and a stream that sends much doesn't hold up the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ztunnel_compat.h2.codes import (
    DATA,
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    MAX_WINDOW,
    ErrorCode,
)
from ztunnel_compat.h2.encoder import Encoder
from ztunnel_compat.h2.errors import ConnectionFault, QueueFullError, StreamFault
from ztunnel_compat.h2.frames import header_frames, pack_header
from ztunnel_compat.h2.limits import Limits
from ztunnel_compat.h2.output import Output
from ztunnel_compat.h2.section import Section
from ztunnel_compat.h2.settings import PeerSettings, Settings
from ztunnel_compat.h2.static import Field
from ztunnel_compat.h2.streams import Stream

#: Bytes of DATA that one take() gives, and a frame at most.
BURST = 256 * 1024
TURN = 128 * 1024
#: Pieces below this are put together while they wait.
SMALL = 4096


class Sender:
    """What goes out on streams."""

    __slots__ = (
        "bound",
        "encoder",
        "high",
        "limits",
        "low",
        "on_end",
        "output",
        "peer",
        "responds",
        "ring",
        "spent",
        "window",
    )

    def __init__(
        self,
        settings: Settings,
        peer: PeerSettings,
        output: Output,
        limits: Limits,
        on_end: Callable[[Stream], None],
        *,
        responds: bool,
    ) -> None:
        self.encoder = Encoder()
        #: Whether the end of what we send may be a stream's: a request's is not.
        self.responds = responds
        self.output = output
        self.limits = limits
        self.peer = peer
        self.high = settings.queue_high
        self.low = settings.queue_low
        self.bound = settings.queue_bound
        #: The peer's window for the connection.
        self.window = DEFAULT_WINDOW
        #: Streams that have data and a window, in the order of their turns.
        self.ring: deque[Stream] = deque()
        #: Bytes of DATA in the output.
        self.spent = 0
        #: Called when END_STREAM was written.
        self.on_end = on_end

    def headers(
        self, stream: Stream, section: Section, *, end: bool, unique: Field | None = None
    ) -> None:
        """Encode and write now: the peer's table follows the order on the wire."""
        block = self.encoder.encode(section, unique)
        size = len(block)
        output = self.output
        if size <= DEFAULT_FRAME:
            flags = END_HEADERS | END_STREAM if end else END_HEADERS
            output.pieces.append(pack_header(size << 8 | HEADERS, flags, stream.id) + block)
        else:
            limit = self.peer.max_frame
            output.pieces.append(header_frames(stream.id, block, limit, end=end))
        output.heads += size
        if end:
            self.end(stream)

    def end(self, stream: Stream) -> None:
        """END_STREAM was written."""
        stream.ending = stream.local_closed = True
        if self.responds or stream.remote_closed:
            self.on_end(stream)

    def send(self, stream: Stream, data: bytes, *, end: bool) -> int:
        """Write or queue DATA; the bytes that are queued then. Raises QueueFullError."""
        size = len(data)
        if not stream.queued:
            if not size:
                if end:
                    self.write(stream, data, size, end=True)
                return 0
            if (
                size <= stream.window
                and size <= self.window
                and size <= TURN
                and size <= self.peer.max_frame
                and self.spent < BURST
                and not self.ring
            ):
                self.write(stream, data, size, end=end)
                return 0
        elif stream.queued >= self.bound:
            raise QueueFullError(
                f"stream {stream.id} has {stream.queued} bytes queued, the bound is "
                f"{self.bound}: wait for on_writable"
            )
        stream.ending = stream.ending or end
        if size:
            self.enqueue(stream, data, size)
        return stream.queued

    def trailers(self, stream: Stream, section: Section) -> None:
        """Write trailers, behind what is queued."""
        if stream.queued:
            stream.ending = True
            stream.trailers = section
        else:
            self.headers(stream, section, end=True)

    def write(self, stream: Stream, data: bytes, size: int, *, end: bool) -> None:
        """One DATA frame, which the windows allow."""
        header = pack_header(size << 8 | DATA, END_STREAM if end else 0, stream.id)
        if size:
            self.output.pieces += (header, data)
            stream.window -= size
            stream.sent += size
            self.window -= size
            self.spent += size
            self.limits.sent_data()
        else:
            self.output.pieces.append(header)
        if end:
            self.end(stream)

    def enqueue(self, stream: Stream, data: bytes, size: int) -> None:
        """Keep data for later, in pieces of a frame; small ones are joined, to be few."""
        pieces = stream.pieces
        if pieces is None:
            pieces = stream.pieces = deque()
        turn = min(TURN, self.peer.max_frame)
        if size > turn:
            pieces.extend(data[start : start + turn] for start in range(0, size, turn))
        elif pieces and size < SMALL and len(pieces[-1]) < SMALL:
            pieces[-1] += data
        else:
            pieces.append(data)
        stream.queued += size
        if stream.queued > self.high:
            stream.full = True
        self.wake(stream)

    def wake(self, stream: Stream) -> None:
        """Give a stream its turn, when it has something to send and may."""
        if stream.queued and stream.window > 0 and not stream.waiting:
            stream.waiting = True
            self.ring.append(stream)

    def take(self, writable: Callable[[Stream], None]) -> list[bytes]:
        """The output, with DATA up to a burst; writable: told of queues that sank."""
        drained: list[Stream] = []
        ring = self.ring
        while ring and self.window > 0 and self.spent < BURST:
            stream = ring.popleft()
            stream.waiting = False
            if stream.finished or stream.window <= 0:
                continue
            self.take_turn(stream)
            if stream.full and stream.queued <= self.low:
                stream.full = False
                drained.append(stream)
            self.wake(stream)
        self.spent = 0
        pieces = self.output.take()
        for stream in drained:
            if not stream.finished and not stream.ending:
                writable(stream)
        return pieces

    def take_turn(self, stream: Stream) -> None:
        """Write one frame of a stream's queue."""
        queue = stream.pieces
        assert queue is not None
        piece = queue.popleft()
        size = len(piece)
        room = min(stream.window, self.window, self.peer.max_frame, TURN)
        if size > room:
            queue.appendleft(piece[room:])
            piece = piece[:room]
            size = room
        stream.queued -= size
        last = stream.ending and not stream.queued
        trailers = stream.trailers
        self.write(stream, piece, size, end=last and trailers is None)
        if last and trailers is not None:
            stream.trailers = None
            self.headers(stream, trailers, end=True)

    def widen(self, increment: int) -> None:
        """Take credit for the connection; raises ConnectionFault."""
        self.window += increment
        if self.window > MAX_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond 2^31-1")

    def widen_stream(self, stream: Stream, increment: int) -> None:
        """Take credit for a stream; raises StreamFault."""
        stream.window += increment
        if stream.window > MAX_WINDOW:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond 2^31-1")
        self.wake(stream)
