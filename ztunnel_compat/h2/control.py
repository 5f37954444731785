"""Frames that carry no content (RFC 9113 section 6)."""

from __future__ import annotations

from ztunnel_compat.h2 import frames
from ztunnel_compat.h2.codes import (
    ACK,
    GOAWAY,
    MAX_STREAM_ID,
    MAX_WINDOW,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCode,
    Role,
)
from ztunnel_compat.h2.errors import ConnectionFault, StreamFault
from ztunnel_compat.h2.state import State

#: The PING whose answer says that the client has seen our first GOAWAY.
DRAIN_PING = b"draining"


class Control:
    """The frames that manage a connection and its streams."""

    __slots__ = ("state",)

    def __init__(self, state: State) -> None:
        self.state = state

    def handle(self, kind: int, flags: int, identifier: int, payload: bytes) -> None:
        """Act on a frame; raises ConnectionFault."""
        if kind == WINDOW_UPDATE:
            self.window_update(identifier, payload)
        elif kind == RST_STREAM:
            self.rst_stream(identifier, payload)
        elif kind == PRIORITY:
            self.priority(identifier, payload)
        elif kind == SETTINGS:
            self.settings(flags, identifier, payload)
        elif kind == PING:
            self.ping(flags, identifier, payload)
        elif kind == GOAWAY:
            self.goaway(identifier, payload)
        else:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, which is off")

    def window_update(self, identifier: int, payload: bytes) -> None:
        """Take credit."""
        state = self.state
        need_length("WINDOW_UPDATE", payload, 4)
        state.limits.updates.spend(state.limits.clock())
        increment = int.from_bytes(payload, "big") & MAX_WINDOW
        if identifier == 0:
            if not increment:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            state.sender.widen(increment)
            return
        stream = state.table.streams.get(identifier)
        if stream is None:
            self.need_used("WINDOW_UPDATE", identifier)
            return
        try:
            if not increment:
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            state.sender.widen_stream(stream, increment)
        except StreamFault as fault:
            state.break_stream(identifier, fault)

    def rst_stream(self, identifier: int, payload: bytes) -> None:
        """The peer ends a stream; doing so before an answer is what rapid reset is."""
        state = self.state
        need_length("RST_STREAM", payload, 4)
        stream = state.table.streams.get(identifier)
        if stream is None:
            self.need_used("RST_STREAM", identifier)
            state.limits.strays.spend(state.limits.clock())
            if identifier in state.table.resets:
                state.table.resets[identifier] = False
            return
        if state.role is Role.SERVER and not stream.head_sent:
            state.limits.resets.spend(state.limits.clock())
        state.table.remember_reset(identifier, ours=False)
        state.table.retire(stream)
        state.handler.on_reset(stream, int.from_bytes(payload, "big"))

    def priority(self, identifier: int, payload: bytes) -> None:
        """Nothing follows from priorities (RFC 9113 section 5.3), but for floods of them."""
        state = self.state
        if identifier == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        state.limits.idle.spend(state.limits.clock())
        if len(payload) != 5:
            if state.table.is_idle(identifier):
                need_length("PRIORITY", payload, 5)
            fault = StreamFault(ErrorCode.FRAME_SIZE_ERROR, f"PRIORITY of {len(payload)} bytes")
            state.break_stream(identifier, fault)

    def settings(self, flags: int, identifier: int, payload: bytes) -> None:
        """Take the peer's settings and acknowledge them."""
        state = self.state
        need_zero("SETTINGS", identifier)
        if flags & ACK:
            need_length("SETTINGS acknowledgement", payload, 0)
            return
        state.limits.settings.spend(state.limits.clock())
        before = state.peer.initial_window
        state.peer.apply(payload, state.role)
        for limit in state.peer.header_tables:
            state.sender.encoder.set_limit(limit)
        if delta := state.peer.initial_window - before:
            for stream in state.table.streams.values():
                stream.window += delta
                if stream.window > MAX_WINDOW:
                    raise ConnectionFault(
                        ErrorCode.FLOW_CONTROL_ERROR, "a window beyond 2^31-1"
                    )
                state.sender.wake(stream)
        state.output.answer(frames.SETTINGS_ACK)

    def ping(self, flags: int, identifier: int, payload: bytes) -> None:
        """Answer a PING, or take an answer."""
        state = self.state
        need_zero("PING", identifier)
        need_length("PING", payload, 8)
        state.limits.pings.spend(state.limits.clock())
        if not flags & ACK:
            state.output.answer(frames.ping(payload, ack=True))
        elif payload == DRAIN_PING and state.sent_goaway:
            self.finish_drain()
        else:
            state.handler.on_pong(payload)

    def goaway(self, identifier: int, payload: bytes) -> None:
        """The peer takes no streams any more, and none above the last it names."""
        state = self.state
        need_zero("GOAWAY", identifier)
        if len(payload) < 8:
            need_length("GOAWAY", payload, 8)
        state.limits.settings.spend(state.limits.clock())
        last, code = frames.WORDS.unpack_from(payload)
        last &= MAX_STREAM_ID
        state.received_goaway = True
        if state.role is Role.CLIENT:
            refused = [s for s in state.table.streams.values() if s.id > last]
            for stream in refused:
                if not stream.finished:
                    state.table.remember_reset(stream.id, ours=True)
                    state.table.retire(stream)
                    state.handler.on_reset(stream, ErrorCode.REFUSED_STREAM)
        state.handler.on_goaway(last, code)

    def start_drain(self, code: ErrorCode) -> None:
        """Tell the peer to open nothing more.

        Requests that are under way get in: a server's first GOAWAY forbids no stream,
        and the final one, with the last stream there was, follows once the client has
        answered a PING sent behind the first (RFC 9113 section 6.8).
        """
        state = self.state
        if state.closed or state.sent_goaway:
            return
        state.sent_goaway = True
        pieces = state.output.pieces
        if state.role is Role.SERVER:
            pieces.append(frames.goaway(MAX_STREAM_ID, code))
            pieces.append(frames.ping(DRAIN_PING, ack=False))
        else:
            pieces.append(frames.goaway(0, code))

    def finish_drain(self) -> None:
        """The client has seen the first GOAWAY."""
        state = self.state
        if state.last_accepted is None:
            state.last_accepted = state.table.last_received
            state.output.answer(frames.goaway(state.last_accepted, ErrorCode.NO_ERROR))

    def need_used(self, name: str, identifier: int) -> None:
        """A frame for a stream that isn't in the table: fine unless it never was."""
        if identifier == 0 or self.state.table.is_idle(identifier):
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR, f"{name} on stream {identifier}, which is idle"
            )


def need_length(name: str, payload: bytes, length: int) -> None:
    """Refuse a frame of another length."""
    if len(payload) != length:
        raise ConnectionFault(
            ErrorCode.FRAME_SIZE_ERROR, f"{name} of {len(payload)} bytes, not {length}"
        )


def need_zero(name: str, identifier: int) -> None:
    """Refuse a connection's frame on a stream."""
    if identifier:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{name} on stream {identifier}")
