"""Settings of both ends (RFC 9113 section 6.5; RFC 8441)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ztunnel_compat.h2.codes import (
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
    ENABLE_CONNECT_PROTOCOL,
    ENABLE_PUSH,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    MAX_WINDOW,
    ErrorCode,
    Role,
)
from ztunnel_compat.h2.errors import ConnectionFault
from ztunnel_compat.h2.frames import SETTING

KIB = 1024
MIB = 1024 * KIB


def check(name: str, value: int, low: int, high: int) -> None:
    """Refuse a setting out of range."""
    if not low <= value <= high:
        raise ValueError(f"{name} {value}: must be from {low} to {high}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What we announce and keep to; the defaults are ztunnel's (its src/config.rs).

    stream_window, connection_window: bytes a peer may send before credit, 65,535 or more;
    max_frame: bytes of a frame that we take;
    header_list_limit: bytes of a field section that we take, as RFC 9113 counts them;
    max_streams: streams a client may have open, server only;
    connect_protocol: whether a server takes extended CONNECT;
    held_limit: bytes that all streams together may hold for a slow owner without
    holding up the others; memory is bounded by this and connection_window;
    queue_high, queue_low, queue_bound: bytes in a stream's send queue at which the
    owner should stop, may go on (on_writable), and gets QueueFullError.

    >>> Settings(stream_window=1)
    Traceback (most recent call last):
    ValueError: stream_window 1: must be from 65535 to 2147483647
    """

    stream_window: int = 4 * MIB
    connection_window: int = 16 * MIB
    max_frame: int = MIB
    header_list_limit: int = 16 * KIB
    max_streams: int = 200
    connect_protocol: bool = False
    held_limit: int = 64 * MIB
    queue_high: int = 128 * KIB
    queue_low: int = 32 * KIB
    queue_bound: int = 256 * KIB

    def __post_init__(self) -> None:
        check("stream_window", self.stream_window, DEFAULT_WINDOW, MAX_WINDOW)
        check("connection_window", self.connection_window, DEFAULT_WINDOW, MAX_WINDOW)
        check("max_frame", self.max_frame, DEFAULT_FRAME, MAX_FRAME)
        check("header_list_limit", self.header_list_limit, KIB, MIB)
        check("max_streams", self.max_streams, 1, MAX_WINDOW)
        check("held_limit", self.held_limit, 0, 1 << 40)
        check("queue_low", self.queue_low, 0, self.queue_high - 1)
        check("queue_high", self.queue_high, 1, self.queue_bound)

    def announced(self, role: Role) -> dict[int, int]:
        """The values of our SETTINGS frame."""
        values = {
            INITIAL_WINDOW_SIZE: self.stream_window,
            MAX_FRAME_SIZE: self.max_frame,
            MAX_HEADER_LIST_SIZE: self.header_list_limit,
        }
        if role is Role.CLIENT:
            values[ENABLE_PUSH] = 0
        else:
            values[MAX_CONCURRENT_STREAMS] = self.max_streams
            if self.connect_protocol:
                values[ENABLE_CONNECT_PROTOCOL] = 1
        return values


CLIENT = Settings()
SERVER = Settings(header_list_limit=64 * KIB)

#: Streams a client opens before it knows the server's limit.
ASSUMED_STREAMS = 100


class PeerSettings:
    """What the peer announced; until then, what the RFC or good custom assumes."""

    __slots__ = (
        "connect_protocol",
        "header_tables",
        "initial_window",
        "max_frame",
        "max_streams",
        "received",
    )

    def __init__(self) -> None:
        self.received = False
        #: What the last frame said, each value: one lowered and raised in the same
        #: frame has emptied the peer's table all the same.
        self.header_tables: list[int] = []
        self.max_streams = ASSUMED_STREAMS
        self.initial_window = DEFAULT_WINDOW
        self.max_frame = DEFAULT_FRAME
        self.connect_protocol = False

    def apply(self, payload: bytes, role: Role) -> None:
        """Take a SETTINGS payload; role: ours. Raises ConnectionFault."""
        if not self.received:
            self.received = True
            self.max_streams = MAX_WINDOW
        self.header_tables.clear()
        for key, value in entries(payload):
            if key == HEADER_TABLE_SIZE:
                self.header_tables.append(value)
            elif key == ENABLE_PUSH:
                if value > (role is Role.SERVER):
                    raise bad(f"ENABLE_PUSH {value} from a {other(role)}")
            elif key == MAX_CONCURRENT_STREAMS:
                self.max_streams = value
            elif key == INITIAL_WINDOW_SIZE:
                if value > MAX_WINDOW:
                    raise bad(f"INITIAL_WINDOW_SIZE {value}", ErrorCode.FLOW_CONTROL_ERROR)
                self.initial_window = value
            elif key == MAX_FRAME_SIZE:
                if not DEFAULT_FRAME <= value <= MAX_FRAME:
                    raise bad(f"MAX_FRAME_SIZE {value}")
                self.max_frame = value
            elif key == ENABLE_CONNECT_PROTOCOL:
                if value > 1 or (self.connect_protocol and not value):
                    raise bad(f"ENABLE_CONNECT_PROTOCOL {value}")
                self.connect_protocol = bool(value)


def entries(payload: bytes) -> Iterator[tuple[int, int]]:
    """(identifier, value) pairs; raises ConnectionFault when the length is odd."""
    if len(payload) % SETTING.size:
        raise bad(f"SETTINGS of {len(payload)} bytes", ErrorCode.FRAME_SIZE_ERROR)
    yield from SETTING.iter_unpack(payload)


def bad(reason: str, code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> ConnectionFault:
    """The fault for settings that no peer may send."""
    return ConnectionFault(code, reason)


def other(role: Role) -> str:
    """The peer's role, for messages."""
    return "server" if role is Role.CLIENT else "client"
