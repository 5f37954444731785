"""Streams and their table (RFC 9113 section 5.1).

A stream is in the table from its HEADERS to its end; there is one way out, retire().
Of those that are gone only recent resets are remembered: frames that were under way
when we reset are no fault.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ztunnel_compat.h2.codes import ErrorCode, Role
from ztunnel_compat.h2.errors import ConnectionFault, StreamFault
from ztunnel_compat.h2.fields import UNKNOWN
from ztunnel_compat.h2.section import Section

#: Resets remembered; older ones count as ours.
REMEMBERED = 1024


class Stream:
    """One stream. An owner reads id, queued, sent, the booleans, and has data for its own.

    queued: bytes that wait for the peer's credit or for their turn; sent: those that don't
    any more;
    local_closed, remote_closed: END_STREAM was sent, was received;
    finished: out of the table: calls with it do nothing.
    """

    __slots__ = (
        "bodiless",
        "data",
        "ending",
        "finished",
        "full",
        "head_received",
        "head_sent",
        "held",
        "id",
        "informed",
        "length",
        "local_closed",
        "pieces",
        "queued",
        "remote_closed",
        "sent",
        "trailers",
        "tunnel",
        "unannounced",
        "waiting",
        "window",
    )

    def __init__(self, identifier: int, window: int) -> None:
        self.id = identifier
        self.data: Any = None
        self.local_closed = False
        self.remote_closed = False
        self.finished = False
        #: A CONNECT that wasn't refused: either end may close without the other.
        self.tunnel = False
        #: The request was HEAD: content-length says nothing about its response.
        self.bodiless = False
        #: A final response, or a request, was sent, was received.
        self.head_sent = False
        self.head_received = False
        #: Informational responses received.
        self.informed = 0
        #: What content-length still promises, or UNKNOWN.
        self.length = UNKNOWN
        # Sending: the peer's window, what waits for it, and what comes after that.
        self.window = window
        self.pieces: deque[bytes] | None = None
        self.queued = 0
        self.sent = 0
        self.ending = False
        self.trailers: Section | None = None
        #: In the sender's ring; past the high mark and not yet below the low one.
        self.waiting = False
        self.full = False
        # Receiving: bytes not announced as credit, and of these, not passed on.
        self.unannounced = 0
        self.held = 0

    def __repr__(self) -> str:
        return f"<Stream {self.id}>"


class StreamTable:
    """The streams of a connection, and which identifiers were used."""

    __slots__ = (
        "forgotten",
        "last_received",
        "next_id",
        "release",
        "resets",
        "role",
        "streams",
    )

    def __init__(self, role: Role, release: Callable[[Stream], None]) -> None:
        self.role = role
        #: Gives a stream's share of the connection back.
        self.release = release
        self.streams: dict[int, Stream] = {}
        #: The highest identifier the peer used, and the one we use next.
        self.last_received = 0
        self.next_id = 1
        #: Whether it was us, by stream; and up to which stream it isn't known any more.
        self.resets: dict[int, bool] = {}
        self.forgotten = 0

    def open_ours(self, window: int) -> Stream:
        """A new stream of our own, where an identifier is left for one."""
        stream = self.streams[self.next_id] = Stream(self.next_id, window)
        self.next_id += 2
        return stream

    def open_theirs(self, identifier: int, window: int) -> Stream:
        """The stream of a request that arrived."""
        stream = self.streams[identifier] = Stream(identifier, window)
        return stream

    def retire(self, stream: Stream) -> None:
        """The one way out: whatever ended the stream, its share is given back."""
        if stream.finished:
            return
        del self.streams[stream.id]
        stream.finished = True
        if stream.held:
            self.release(stream)
        if stream.queued:
            stream.pieces = stream.trailers = None
            stream.queued = 0

    def remember_reset(self, identifier: int, *, ours: bool) -> None:
        """Note a reset, so that what still comes on the stream can be judged."""
        if len(self.resets) >= REMEMBERED:
            oldest = next(iter(self.resets))
            del self.resets[oldest]
            self.forgotten = max(self.forgotten, oldest)
        self.resets.setdefault(identifier, ours)

    def is_idle(self, identifier: int) -> bool:
        """Whether nobody has used an identifier yet."""
        if identifier % 2 == 0:
            return True
        if self.role is Role.SERVER:
            return identifier > self.last_received
        return identifier >= self.next_id

    def judge(self, identifier: int) -> None:
        """A HEADERS or DATA frame came for a stream that isn't in the table.

        Returns when it is to be ignored; raises ConnectionFault, StreamFault.
        """
        if self.is_idle(identifier):
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR, f"a frame on stream {identifier}, which is idle"
            )
        ours = self.resets.get(identifier, identifier <= self.forgotten or None)
        if ours is None:
            raise ConnectionFault(
                ErrorCode.STREAM_CLOSED, f"a frame on stream {identifier}, which has ended"
            )
        if not ours:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "a frame after RST_STREAM")
