"""Our flow control: what peers may send us (RFC 9113 section 5.2).

A stream gets credit when the owner has passed its bytes on (Connection.consumed).
The connection gets it at once, or a stalled stream would take the window from all
others; only what all streams hold beyond a limit waits for their owner. Padding and
bytes of streams that have ended are credited as they come.
"""

from __future__ import annotations

from ztunnel_compat.h2.codes import DEFAULT_WINDOW, ErrorCode
from ztunnel_compat.h2.errors import ConnectionFault, StreamFault
from ztunnel_compat.h2.frames import window_update
from ztunnel_compat.h2.output import Output
from ztunnel_compat.h2.settings import Settings
from ztunnel_compat.h2.streams import Stream


class Inflow:
    """Both windows of what arrives."""

    __slots__ = (
        "connection_share",
        "connection_window",
        "held",
        "held_limit",
        "output",
        "stream_share",
        "stream_window",
        "unannounced",
    )

    def __init__(self, settings: Settings, output: Output) -> None:
        self.output = output
        self.stream_window = settings.stream_window
        self.connection_window = settings.connection_window
        #: Credit is worth a frame when it is this much.
        self.stream_share = settings.stream_window // 2
        self.connection_share = settings.connection_window // 2
        self.held_limit = settings.held_limit
        #: Bytes that arrived and haven't been announced as credit.
        self.unannounced = 0
        #: Bytes of them all that owners haven't passed on.
        self.held = 0

    def start(self) -> None:
        """Announce a window that is larger than the protocol's default."""
        if self.connection_window > DEFAULT_WINDOW:
            increment = self.connection_window - DEFAULT_WINDOW
            self.output.pieces.append(window_update(0, increment))

    def arrived(self, length: int) -> None:
        """Count DATA of a length, padding included, against the connection's window.

        Raises ConnectionFault when it is more than there was credit for.
        """
        unannounced = self.unannounced + length
        if unannounced > self.connection_window:
            raise ConnectionFault(
                ErrorCode.FLOW_CONTROL_ERROR,
                f"{unannounced} bytes in a window of {self.connection_window}",
            )
        self.unannounced = unannounced
        if unannounced >= self.connection_share:
            self.announce()

    def hold(self, stream: Stream, length: int) -> None:
        """Count what arrived() counted against its stream too; raises StreamFault."""
        unannounced = stream.unannounced + length
        if unannounced > self.stream_window:
            raise StreamFault(
                ErrorCode.FLOW_CONTROL_ERROR,
                f"{unannounced} bytes in a window of {self.stream_window}",
            )
        stream.unannounced = unannounced
        stream.held += length
        self.held += length

    def passed(self, stream: Stream, count: int) -> None:
        """The owner passed bytes on: credit them. Raises ValueError for more than it got."""
        if stream.finished:
            return
        if not 0 <= count <= stream.held:
            raise ValueError(f"{count} bytes consumed of {stream.held} on stream {stream.id}")
        stream.held -= count
        self.held -= count
        due = stream.unannounced - stream.held
        if due >= self.stream_share and not stream.remote_closed:
            stream.unannounced -= due
            self.output.answer(window_update(stream.id, due))
        if self.unannounced >= self.connection_share:
            self.announce()

    def release(self, stream: Stream) -> None:
        """A stream ends: what it holds is nobody's any more."""
        self.held -= stream.held
        stream.held = 0
        if self.unannounced >= self.connection_share:
            self.announce()

    def announce(self) -> None:
        """Give the connection what is due, when it is worth a frame."""
        due = self.unannounced - max(0, self.held - self.held_limit)
        if due >= self.connection_share:
            self.unannounced -= due
            self.output.answer(window_update(0, due))
