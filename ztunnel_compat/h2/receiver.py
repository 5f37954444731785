"""The frame loop. No object is made for a frame: what it says is acted on at once.

DATA goes to the handler as it comes, a frame that is larger than what arrived in
parts. Other frames wait until they are whole; they are small, or refused.
"""

from __future__ import annotations

from ztunnel_compat.h2.blocks import Blocks
from ztunnel_compat.h2.codes import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_FRAME,
    END_HEADERS,
    END_STREAM,
    FRAME_HEADER,
    HEADERS,
    PADDED,
    PREFACE,
    SETTINGS,
    WITH_PRIORITY,
    ErrorCode,
    Role,
)
from ztunnel_compat.h2.control import Control
from ztunnel_compat.h2.errors import ConnectionFault, StreamFault
from ztunnel_compat.h2.fields import UNKNOWN
from ztunnel_compat.h2.frames import HEADER
from ztunnel_compat.h2.limits import MAX_CAUSED
from ztunnel_compat.h2.state import State
from ztunnel_compat.h2.streams import Stream

Bytes = bytes | memoryview

unpack_header = HEADER.unpack_from
#: What of a HEADERS frame's flags says whether its payload is a block and nothing else.
WHOLE_BLOCK = END_HEADERS | PADDED | WITH_PRIORITY
#: Frame types from here on are unknown, and passed over (RFC 9113 section 5.5).
UNKNOWN_TYPE = CONTINUATION + 1


class Receiver:
    """Bytes in, calls of the handler out."""

    __slots__ = (
        "blocks",
        "carried_since",
        "carry",
        "control",
        "greeted",
        "max_frame",
        "needed",
        "padding",
        "preface",
        "remaining",
        "state",
        "target",
        "target_end",
    )

    def __init__(self, state: State, control: Control) -> None:
        self.state = state
        self.control = control
        self.max_frame = state.settings.max_frame
        #: What of the client's preface is still to come (RFC 9113 section 3.4).
        self.preface = PREFACE if state.role is Role.SERVER else b""
        #: Whether the SETTINGS frame that must come first has.
        self.greeted = False
        #: The start of a frame, and how many bytes there must be to go on.
        self.carry = bytearray()
        self.carried_since = 0.0
        self.needed = 0
        #: A frame that is passed on in parts: content and padding still to come, the
        #: stream (None: nobody wants it), and whether it ends there.
        self.remaining = 0
        self.padding = 0
        self.target: Stream | None = None
        self.target_end = False
        self.blocks = Blocks(state)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes; raises ConnectionFault, after which nothing more may be fed."""
        carry = self.carry
        if carry:
            carry += data
            if len(carry) < self.needed:
                return
            data = bytes(carry)
            carry.clear()
        elif isinstance(data, bytearray):
            data = memoryview(data)
        position = 0
        if self.preface:
            position = self.read_preface(data)
        if self.remaining or self.padding:
            position = self.go_on(data, position)
        position = self.read_frames(data, position)
        if position < len(data) and not self.state.closed:
            carry += data[position:]
            self.carried_since = self.state.limits.clock()

    @property
    def unfinished_since(self) -> float | None:
        """When what must be completed before anything else goes on began, or None."""
        if self.blocks.block is not None:
            return self.blocks.since
        return self.carried_since if self.carry else None

    def read_preface(self, data: Bytes) -> int:
        """Check what arrived of the client's preface; the position after it."""
        expected = self.preface[: len(data)]
        if data[: len(expected)] != expected:
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR, "the connection doesn't begin with HTTP/2's preface"
            )
        self.preface = self.preface[len(expected) :]
        return len(expected)

    def read_frames(self, data: Bytes, position: int) -> int:
        """Read whole frames, and what there is of DATA; the position after them."""
        state = self.state
        blocks = self.blocks
        size = len(data)
        while size - position >= FRAME_HEADER:
            if state.closed:
                return size
            word, flags, identifier = unpack_header(data, position)
            length = word >> 8
            kind = word & 0xFF
            identifier &= 0x7FFFFFFF
            if length > self.max_frame:
                raise ConnectionFault(
                    ErrorCode.FRAME_SIZE_ERROR,
                    f"a frame of {length} bytes, more than {self.max_frame}",
                )
            start = position + FRAME_HEADER
            end = start + length
            if kind > HEADERS or end > size or blocks.block is not None or not self.greeted:
                end = self.read_frame(
                    data, start, length, kind=kind, flags=flags, identifier=identifier
                )
                if end < 0:
                    return position
            # Most are one of these: here whole, and without padding.
            elif kind == HEADERS:
                if flags & WHOLE_BLOCK == END_HEADERS and identifier and length <= blocks.limit:
                    last = bool(flags & END_STREAM)
                    blocks.complete(bytes(data[start:end]), identifier, end=last)
                else:
                    blocks.headers(bytes(data[start:end]), flags, identifier)
            elif length and not flags & PADDED:
                self.data(data[start:end], length, flags, identifier)
            else:
                end = self.go_on(data, self.begin_data(data, start, length, flags, identifier))
            position = end
            if state.output.caused > MAX_CAUSED:
                raise ConnectionFault(
                    ErrorCode.ENHANCE_YOUR_CALM,
                    f"{state.output.caused} bytes of answers are waiting to be read",
                )
        self.needed = FRAME_HEADER
        return position

    def read_frame(
        self, data: Bytes, start: int, length: int, *, kind: int, flags: int, identifier: int
    ) -> int:
        """Read any frame, of whose payload there may be a part; the position after it, or
        after what was taken of it; -1: there must be more of it first.
        """
        state = self.state
        if not self.greeted:
            self.greet(kind, flags)
        if self.blocks.block is not None and kind != CONTINUATION:
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR,
                f"a frame of type {kind} inside the header block of {self.blocks.stream}",
            )
        size = len(data)
        if kind == DATA:
            if flags & PADDED and size == start and length:
                self.needed = FRAME_HEADER + 1
                return -1
            start = self.begin_data(data, start, length, flags, identifier)
            return self.go_on(data, start)
        if kind >= UNKNOWN_TYPE:
            state.limits.idle.spend(state.limits.clock())
            self.target = None
            self.remaining = length
            return self.go_on(data, start)
        end = start + length
        if end > size:
            self.check_waiting(kind, length)
            self.needed = FRAME_HEADER + length
            return -1
        payload = bytes(data[start:end])
        if kind == HEADERS:
            self.blocks.headers(payload, flags, identifier)
        elif kind == CONTINUATION:
            self.blocks.continuation(payload, flags, identifier)
        else:
            self.control.handle(kind, flags, identifier, payload)
        return end

    def greet(self, kind: int, flags: int) -> None:
        """The first frame must be SETTINGS (RFC 9113 section 3.4)."""
        if kind != SETTINGS or flags & ACK:
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR, f"the first frame is of type {kind}, not SETTINGS"
            )
        self.greeted = True

    def check_waiting(self, kind: int, length: int) -> None:
        """Refuse to wait for a frame that has no reason to be so large."""
        limit = self.blocks.limit if kind in {HEADERS, CONTINUATION} else DEFAULT_FRAME
        if length > max(limit, DEFAULT_FRAME):
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM, f"a frame of type {kind} of {length} bytes"
            )

    # -- DATA

    def data(self, content: Bytes, length: int, flags: int, identifier: int) -> None:
        """Take a DATA frame that is here whole, without padding and with content: most are."""
        end = bool(flags & END_STREAM)
        stream = self.claim(identifier, length, length, end=end)
        if stream is not None:
            self.deliver(stream, content, end=end)

    def claim(self, identifier: int, length: int, content: int, *, end: bool) -> Stream | None:
        """Count a DATA frame of a length, whatever becomes of it; the stream that takes its
        content, None: nobody does.
        """
        if identifier == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA on stream 0")
        state = self.state
        state.inflow.arrived(length)
        stream = state.table.streams.get(identifier)
        try:
            if stream is None:
                state.table.judge(identifier)
                return None
            self.check_data(stream, content, end=end)
            state.inflow.hold(stream, length)
        except StreamFault as fault:
            state.break_stream(identifier, fault)
            return None
        return stream

    def begin_data(
        self, data: Bytes, start: int, length: int, flags: int, identifier: int
    ) -> int:
        """Take a DATA frame's header and padding length; where its content starts.

        The whole frame is counted against the windows here, whatever becomes of it.
        """
        state = self.state
        padding = overhead = 0
        if flags & PADDED:
            if length:
                padding = data[start]
                start += 1
                overhead = padding + 1
            if overhead > length or not length:
                raise ConnectionFault(
                    ErrorCode.PROTOCOL_ERROR, f"{padding} bytes of padding in {length}"
                )
        end = bool(flags & END_STREAM)
        content = length - overhead
        self.remaining = content
        self.padding = padding
        self.target = None
        self.target_end = end
        if not content and not end:
            state.limits.idle.spend(state.limits.clock())
        stream = self.claim(identifier, length, content, end=end)
        if stream is None:
            return start
        if overhead:
            state.inflow.passed(stream, overhead)
        self.target = stream
        if not content:
            self.deliver(stream, b"", end=end)
        return start

    def check_data(self, stream: Stream, content: int, *, end: bool) -> None:
        """Whether the stream may carry this much; raises StreamFault."""
        if stream.remote_closed:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "DATA after END_STREAM")
        if not stream.head_received:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "DATA before a response")
        if stream.length == UNKNOWN:
            return
        stream.length -= content
        if stream.length < 0 or (end and stream.length):
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "content-length and DATA differ")

    def go_on(self, data: Bytes, position: int) -> int:
        """Pass on what arrived of the current frame; the position after it."""
        available = len(data) - position
        if self.remaining:
            taken = min(self.remaining, available)
            if not taken:
                return position
            self.remaining -= taken
            stream = self.target
            end = position + taken
            if stream is not None and not stream.finished:
                self.deliver(
                    stream, data[position:end], end=self.target_end and not self.remaining
                )
            position = end
            available -= taken
        skipped = min(self.padding, available)
        self.padding -= skipped
        return position + skipped

    def deliver(self, stream: Stream, data: Bytes, *, end: bool) -> None:
        """Tell the handler."""
        if end:
            stream.remote_closed = True
        elif not data:
            return
        self.state.handler.on_data(stream, data, end)
        if end:
            self.state.settle(stream)
