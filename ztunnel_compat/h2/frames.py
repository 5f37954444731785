"""Frames as bytes (RFC 9113 sections 4.1 and 6)."""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct

from ztunnel_compat.h2.codes import (
    ACK,
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)

#: length << 8 | type, flags, stream.
HEADER = Struct(">IBI")
WORD = Struct(">I")
WORDS = Struct(">II")
SETTING = Struct(">HI")
#: A whole frame with one 32-bit number in it.
ONE_WORD = Struct(">IBII")

pack_header = HEADER.pack
SETTINGS_ACK = pack_header(SETTINGS, ACK, 0)


def header_frames(stream: int, block: bytes, limit: int, *, end: bool) -> bytes:
    """HEADERS, and CONTINUATION for what is beyond the peer's frame limit."""
    flags = END_STREAM if end else 0
    if len(block) <= limit:
        return pack_header(len(block) << 8 | HEADERS, flags | END_HEADERS, stream) + block
    parts = [pack_header(limit << 8 | HEADERS, flags, stream), block[:limit]]
    for start in range(limit, len(block), limit):
        part = block[start : start + limit]
        last = END_HEADERS if start + limit >= len(block) else 0
        parts += (pack_header(len(part) << 8 | CONTINUATION, last, stream), part)
    return b"".join(parts)


def rst_stream(stream: int, code: int) -> bytes:
    """RST_STREAM."""
    return ONE_WORD.pack(4 << 8 | RST_STREAM, 0, stream, code)


def window_update(stream: int, increment: int) -> bytes:
    """WINDOW_UPDATE; stream 0 is the connection."""
    return ONE_WORD.pack(4 << 8 | WINDOW_UPDATE, 0, stream, increment)


def ping(payload: bytes, *, ack: bool) -> bytes:
    """PING; payload: 8 bytes."""
    return pack_header(8 << 8 | PING, ACK if ack else 0, 0) + payload


def goaway(last_stream: int, code: int, reason: bytes = b"") -> bytes:
    """GOAWAY; reason: for people."""
    length = 8 + len(reason)
    return pack_header(length << 8 | GOAWAY, 0, 0) + WORDS.pack(last_stream, code) + reason


def settings(values: Mapping[int, int]) -> bytes:
    """SETTINGS; values: identifier → value."""
    payload = b"".join(SETTING.pack(key, value) for key, value in values.items())
    return pack_header(len(payload) << 8 | SETTINGS, 0, 0) + payload
