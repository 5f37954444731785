"""Frames: a JSON object and bytes, with both lengths before them.

    u32 length of the object | u32 length of the bytes | object | bytes

Who reads trusts nothing: neither lengths nor what is in the object.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

SIZES = struct.Struct("!II")
#: Bytes of either part at most.
MOST = 4 << 20

encode_json = json.JSONEncoder(separators=(",", ":")).encode


class FrameError(Exception):
    """The other side doesn't keep to the protocol."""


def encode(said: dict[str, Any], data: bytes = b"") -> bytes:
    """One frame."""
    head = encode_json(said).encode()
    return SIZES.pack(len(head), len(data)) + head + data


class FrameReader:
    """Puts frames together from what comes."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
        """The frames that are whole now; raises FrameError."""
        self.buffer += data
        at = 0
        try:
            while len(self.buffer) - at >= SIZES.size:
                head, body = SIZES.unpack_from(self.buffer, at)
                if head > self.most or body > self.most:
                    raise FrameError(f"a frame of {head} + {body} bytes: {self.most} at most")
                start, middle = at + SIZES.size, at + SIZES.size + head
                if len(self.buffer) < middle + body:
                    return
                at = middle + body
                yield (
                    read_object(bytes(self.buffer[start:middle])),
                    bytes(self.buffer[middle:at]),
                )
        finally:
            del self.buffer[:at]


def read_object(text: bytes) -> dict[str, Any]:
    """A frame's object; raises FrameError."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"no JSON: {error}") from error
    if not isinstance(said, dict):
        raise FrameError("no object")
    return said
