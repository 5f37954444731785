"""Header blocks: put together from their frames, decoded, and given to their streams."""

from __future__ import annotations

from ztunnel_compat.h2.codes import (
    END_HEADERS,
    END_STREAM,
    PADDED,
    WITH_PRIORITY,
    ErrorCode,
    Role,
)
from ztunnel_compat.h2.decoder import FAR
from ztunnel_compat.h2.errors import ConnectionFault, OversizeFault, StreamFault
from ztunnel_compat.h2.fields import Head
from ztunnel_compat.h2.frames import header_frames
from ztunnel_compat.h2.limits import MAX_CONTINUATIONS, MAX_HEADS, MAX_INFORMATIONAL
from ztunnel_compat.h2.section import Section
from ztunnel_compat.h2.state import State
from ztunnel_compat.h2.streams import Stream

TOO_LARGE = Section.of([(b":status", b"431")])


class Blocks:
    """HEADERS and CONTINUATION in, calls of the handler out.

    block: one that goes on in CONTINUATION frames, or None; since: when it began.
    """

    __slots__ = ("block", "end", "limit", "parts", "since", "state", "stream")

    def __init__(self, state: State) -> None:
        self.state = state
        self.block: bytearray | None = None
        self.stream = 0
        self.end = False
        self.parts = 0
        self.since = 0.0
        #: Fields take at most their list size on the wire but for bad coding; twice
        #: that is read, so that a section a little too large ends its stream alone.
        self.limit = FAR * state.settings.header_list_limit

    def headers(self, payload: bytes, flags: int, identifier: int) -> None:
        """Take a HEADERS frame."""
        if identifier == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on stream 0")
        if flags & (PADDED | WITH_PRIORITY):
            payload = strip(payload, flags)
        end = bool(flags & END_STREAM)
        if flags & END_HEADERS:
            if len(payload) > self.limit:
                raise oversize_block(len(payload))
            self.complete(payload, identifier, end=end)
            return
        self.block = bytearray(payload)
        self.stream = identifier
        self.end = end
        self.parts = 0
        self.since = self.state.limits.clock()
        self.check_block()

    def continuation(self, payload: bytes, flags: int, identifier: int) -> None:
        """Take a CONTINUATION frame."""
        if self.block is None or identifier != self.stream:
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR, f"CONTINUATION on stream {identifier} continues none"
            )
        self.block += payload
        self.parts += 1
        self.check_block()
        if flags & END_HEADERS:
            block = bytes(self.block)
            self.block = None
            self.complete(block, identifier, end=self.end)

    def check_block(self) -> None:
        """Bound a block that comes in parts."""
        assert self.block is not None
        if len(self.block) > self.limit:
            raise oversize_block(len(self.block))
        if self.parts > MAX_CONTINUATIONS:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM,
                f"more than {MAX_CONTINUATIONS} CONTINUATION frames",
            )

    def complete(self, block: bytes, identifier: int, *, end: bool) -> None:
        """A header block is whole; it is decoded whatever its stream's state."""
        state = self.state
        stream = state.table.streams.get(identifier)
        try:
            if stream is not None:
                if stream.remote_closed:
                    state.reader.skip(block)
                    raise StreamFault(ErrorCode.STREAM_CLOSED, "HEADERS after END_STREAM")
                if stream.tunnel and stream.head_received:
                    # Section 8.5: nothing but DATA in a tunnel.
                    state.reader.skip(block)
                    raise StreamFault(ErrorCode.PROTOCOL_ERROR, "HEADERS in a tunnel")
                if stream.head_received:
                    self.trailers(stream, state.reader.read_trailers(block), end=end)
                else:
                    self.response(stream, state.reader.read_head(block), end=end)
            elif state.role is Role.SERVER and identifier > state.table.last_received:
                self.request(block, identifier, end=end)
            else:
                state.reader.skip(block)
                state.table.judge(identifier)
        except OversizeFault as fault:
            self.oversize(identifier, fault, end=end)
        except StreamFault as fault:
            state.break_stream(identifier, fault)

    def request(self, block: bytes, identifier: int, *, end: bool) -> None:
        """Open the stream of a request, or refuse it."""
        state = self.state
        if identifier % 2 == 0:
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR, f"a request on stream {identifier}, which is even"
            )
        state.table.last_received = identifier
        full = (
            len(state.table.streams) >= state.settings.max_streams
            or state.output.heads > MAX_HEADS
        )
        if full or state.last_accepted is not None:
            state.reader.skip(block)
            raise StreamFault(ErrorCode.REFUSED_STREAM, "no further stream is taken")
        reader = state.reader
        head = reader.heads.get(block) or reader.read_head(block)
        length = head.length
        if end and length > 0:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "content-length without content")
        stream = state.table.open_theirs(identifier, state.peer.initial_window)
        stream.head_received = True
        stream.tunnel = head.tunnel
        stream.bodiless = head.method == b"HEAD"
        stream.length = length
        stream.remote_closed = end
        state.handler.on_request(stream, head.fields, end)

    def response(self, stream: Stream, head: Head, *, end: bool) -> None:
        """Take a response's head."""
        state = self.state
        if head.status < 200:
            if end:
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, f"END_STREAM with {head.status}")
            stream.informed += 1
            if stream.informed > MAX_INFORMATIONAL:
                raise StreamFault(
                    ErrorCode.ENHANCE_YOUR_CALM, f"more than {MAX_INFORMATIONAL} 1xx responses"
                )
            state.handler.on_response(stream, head.fields, False)
            return
        stream.head_received = True
        stream.tunnel = stream.tunnel and head.status < 300
        if stream.bodiless or head.status in {204, 304}:
            stream.length = 0
        elif not stream.tunnel:
            stream.length = head.length
        if end:
            if stream.length > 0:
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, "content-length without content")
            stream.remote_closed = True
        state.handler.on_response(stream, head.fields, end)
        if end:
            state.settle(stream)

    def trailers(self, stream: Stream, head: Head, *, end: bool) -> None:
        """Take trailers."""
        if not end:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "trailers without END_STREAM")
        if stream.length > 0:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "content-length and DATA differ")
        stream.remote_closed = True
        self.state.handler.on_trailers(stream, head.fields)
        self.state.settle(stream)

    def oversize(self, identifier: int, fault: OversizeFault, *, end: bool) -> None:
        """A field section beyond our limit: a request gets 431, else the stream breaks."""
        state = self.state
        if state.role is Role.SERVER and identifier not in state.table.streams:
            state.limits.resets.spend(state.limits.clock())
            stream = state.table.open_theirs(identifier, state.peer.initial_window)
            stream.remote_closed = end
            block = state.sender.encoder.encode(TOO_LARGE)
            limit = state.peer.max_frame
            state.output.answer(header_frames(identifier, block, limit, end=True))
            state.sender.end(stream)
        else:
            state.break_stream(identifier, fault)


def strip(payload: bytes, flags: int) -> bytes:
    """A HEADERS payload without padding and priority; raises ConnectionFault."""
    start = flags >> 3 & 1
    padding = payload[0] if start and payload else 0
    start += 5 if flags & WITH_PRIORITY else 0
    end = len(payload) - padding
    if start > end:
        raise ConnectionFault(
            ErrorCode.FRAME_SIZE_ERROR if start > len(payload) else ErrorCode.PROTOCOL_ERROR,
            f"{padding} bytes of padding in {len(payload)}",
        )
    return payload[start:end]


def oversize_block(size: int) -> ConnectionFault:
    """The fault for a header block that isn't even read."""
    return ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"a header block of {size} bytes")
