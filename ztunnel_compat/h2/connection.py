"""An HTTP/2 connection without I/O, either role.

The owner feeds what it reads to receive(), and writes what take_output() gives, again
and again until that is empty, or until its transport is full: whoever stops taking
makes streams wait, and their owners stop (send_data, Handler.on_writable).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from ztunnel_compat.h2 import frames
from ztunnel_compat.h2.codes import MAX_STREAM_ID, PREFACE, ErrorCode, Role
from ztunnel_compat.h2.control import DRAIN_PING, Control
from ztunnel_compat.h2.errors import (
    ConnectionFault,
    StreamLimitError,
    StreamStateError,
)
from ztunnel_compat.h2.fields import Fields, Headers
from ztunnel_compat.h2.handler import Handler
from ztunnel_compat.h2.limits import MAX_HEADS
from ztunnel_compat.h2.receiver import Receiver
from ztunnel_compat.h2.section import Section
from ztunnel_compat.h2.settings import CLIENT, SERVER, Settings
from ztunnel_compat.h2.state import State
from ztunnel_compat.h2.static import Field
from ztunnel_compat.h2.streams import Stream

__all__ = [
    "Connection",
    "ErrorCode",
    "Fields",
    "Handler",
    "Headers",
    "Role",
    "Section",
    "Settings",
    "Stream",
]


class Connection:
    """One connection.

    settings: ztunnel's for the role when None; clock: seconds, for flood limits.
    Calls for a stream that has ended do nothing, since an end may cross them.
    """

    __slots__ = ("control", "receiver", "state")

    def __init__(
        self,
        role: Role,
        handler: Handler,
        settings: Settings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if settings is None:
            settings = CLIENT if role is Role.CLIENT else SERVER
        self.state = State(role, handler, settings, clock)
        self.control = Control(self.state)
        self.receiver = Receiver(self.state, self.control)

    # -- what there is

    @property
    def streams(self) -> Mapping[int, Stream]:
        """The open streams by identifier."""
        return self.state.table.streams

    @property
    def open_streams(self) -> int:
        """How many streams are open."""
        return len(self.state.table.streams)

    @property
    def draining(self) -> bool:
        """Whether a GOAWAY was sent or received."""
        return self.state.sent_goaway or self.state.received_goaway

    @property
    def drained(self) -> bool:
        """Whether no stream is open and none will be: the transport may be closed."""
        state = self.state
        if state.table.streams:
            return False
        if state.role is Role.CLIENT:
            return state.closed or self.draining
        return state.closed or state.received_goaway or state.last_accepted is not None

    @property
    def closed(self) -> bool:
        """Whether the connection is over."""
        return self.state.closed

    @property
    def can_open(self) -> bool:
        """Whether request() would find a stream."""
        state = self.state
        table = state.table
        return (
            len(table.streams) < state.peer.max_streams
            and state.output.heads <= MAX_HEADS
            and table.next_id <= MAX_STREAM_ID
            and not (state.sent_goaway or state.received_goaway or state.closed)
        )

    @property
    def max_streams(self) -> int:
        """How many streams the peer lets us have; 100 until it has said so."""
        return self.state.peer.max_streams

    @property
    def connect_protocol(self) -> bool:
        """Whether the server takes extended CONNECT (RFC 8441)."""
        return self.state.peer.connect_protocol

    @property
    def unfinished_since(self) -> float | None:
        """When the frame or header block began that is still to be completed, or None."""
        return self.receiver.unfinished_since

    @property
    def queue_high(self) -> int:
        """The bytes of a stream's send queue at which its owner should stop."""
        return self.state.settings.queue_high

    @property
    def greeted(self) -> bool:
        """Whether the peer's settings are known."""
        return self.state.peer.received

    def broken(self, stream: Stream) -> bool:
        """Whether it was us who ended a stream early, for what the peer did on it."""
        return self.state.table.resets.get(stream.id, False)

    # -- the wire

    def start(self) -> None:
        """Put the preface into the output."""
        state = self.state
        pieces = state.output.pieces
        if state.role is Role.CLIENT:
            pieces.append(PREFACE)
        pieces.append(frames.settings(state.settings.announced(state.role)))
        state.inflow.start()

    def receive(self, data: bytes | bytearray | memoryview) -> None:
        """Take what was read; the handler is called from here. Never raises for bad bytes."""
        if self.state.closed:
            return
        try:
            self.receiver.feed(data)
        except ConnectionFault as fault:
            self.fail(fault)

    def take_output(self) -> list[bytes]:
        """Pieces to write now, up to about 256 KiB of content; none when there are none."""
        return self.state.sender.take(self.state.handler.on_writable)

    def lost(self) -> None:
        """The transport is gone: end every stream, then on_closed(None)."""
        if not self.state.closed:
            self.close(None, ErrorCode.CANCEL)

    def fail(self, fault: ConnectionFault) -> None:
        """End the connection for a fault of the peer's: GOAWAY is the last of the output."""
        state = self.state
        last = state.table.last_received
        if state.last_accepted is not None:
            last = min(last, state.last_accepted)
        reason = fault.reason.encode()
        state.output.pieces.append(frames.goaway(last, fault.code, reason))
        self.close(fault, fault.code)

    def close(self, fault: ConnectionFault | None, code: ErrorCode) -> None:
        """End every stream and say so."""
        state = self.state
        state.closed = True
        streams = list(state.table.streams.values())
        for stream in streams:
            state.table.retire(stream)
        for stream in streams:
            state.handler.on_reset(stream, code)
        state.handler.on_closed(fault)

    # -- messages

    def request(
        self, headers: Headers | Section, *, end: bool = False, unique: Field | None = None
    ) -> Stream:
        """Open a stream (client); headers: pseudo-fields first, names in lower case, a
        Section where they are sent often; unique: a last field that never comes back (see
        Encoder.encode).

        Raises StreamLimitError when can_open is false, StreamStateError for an extended
        CONNECT that the server doesn't take.
        """
        if not self.can_open:
            raise StreamLimitError(
                f"no stream can be opened: {self.open_streams} of {self.max_streams} are open, "
                f"draining: {self.draining}, closed: {self.closed}"
            )
        return self.open(headers, end=end, unique=unique)

    def open(
        self, headers: Headers | Section, *, end: bool = False, unique: Field | None = None
    ) -> Stream:
        """The same where can_open was asked just now."""
        state = self.state
        section = headers if isinstance(headers, Section) else Section.of(headers)
        around = section.around
        pseudo = around.pseudo_fields or around.pseudo
        if b":protocol" in pseudo and not self.connect_protocol:
            raise StreamStateError("the server doesn't take extended CONNECT (RFC 8441)")
        method = pseudo.get(b":method")
        stream = state.table.open_ours(state.peer.initial_window)
        stream.head_sent = True
        stream.tunnel = method == b"CONNECT"
        stream.bodiless = method == b"HEAD"
        state.sender.headers(stream, section, end=end, unique=unique)
        return stream

    def respond(self, stream: Stream, headers: Headers | Section, *, end: bool = False) -> None:
        """Send a response (server); :status first, those with 1xx before the final one."""
        if stream.finished:
            return
        section = headers if isinstance(headers, Section) else Section.of(headers)
        status = section.around.before[0][1]
        if stream.head_sent or stream.ending:
            raise StreamStateError(f"a second response on stream {stream.id}")
        if status[:1] != b"1":
            stream.head_sent = True
            stream.tunnel = stream.tunnel and status[:1] == b"2"
        elif end:
            raise StreamStateError(f"{status!r} can't end stream {stream.id}")
        self.state.sender.headers(stream, section, end=end)

    def send_data(self, stream: Stream, data: bytes, *, end: bool = False) -> int:
        """Send content; the bytes of the stream that are queued then.

        Above Settings.queue_high the owner stops reading its source until on_writable.
        Raises QueueFullError at queue_bound, StreamStateError out of turn.
        """
        if stream.finished:
            return 0
        if stream.ending or not stream.head_sent:
            raise StreamStateError(f"no data may be sent on stream {stream.id} now")
        return self.state.sender.send(stream, data, end=end)

    def send_trailers(self, stream: Stream, headers: Headers) -> None:
        """End our side with trailers, behind what is queued."""
        if stream.finished:
            return
        if stream.ending or not stream.head_sent:
            raise StreamStateError(f"no trailers may be sent on stream {stream.id} now")
        self.state.sender.trailers(stream, Section.of(headers))

    def reset(self, stream: Stream, code: ErrorCode) -> None:
        """End a stream early; what is queued is dropped, on_reset is not called."""
        self.state.reset(stream, code)

    def consumed(self, stream: Stream, count: int) -> None:
        """Content was passed on: give its sender credit for so many bytes."""
        self.state.inflow.passed(stream, count)

    # -- the connection

    def ping(self, payload: bytes) -> None:
        """Send a PING of 8 bytes; on_pong has them when it is answered."""
        if len(payload) != 8 or payload == DRAIN_PING:
            raise ValueError(f"PING {payload!r}: must be 8 bytes, not {DRAIN_PING!r}")
        if not self.state.closed:
            self.state.output.pieces.append(frames.ping(payload, ack=False))

    def goaway(self, code: ErrorCode = ErrorCode.NO_ERROR) -> None:
        """Drain: open streams go on, new ones are refused after those under way."""
        self.control.start_drain(code)

    def forget(self) -> None:
        """Drop memos of header blocks, and with them what owners noted (Fields.note)."""
        self.state.reader.forget()
        self.state.sender.encoder.forget()
