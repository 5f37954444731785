"""Counts gRPC's messages in a body that comes in pieces; no I/O."""

from __future__ import annotations

from struct import Struct
from typing import Final

#: What goes before each message: whether it is compressed, and its length (gRPC over
#: HTTP/2, "Length-Prefixed-Message").
PREFIX: Final = Struct(">xI")


class Messages:
    """The messages of one body.

    count: those whose prefix was there whole. It steps from prefix to prefix, so that a
    message costs the same whatever its length, and keeps less than a prefix of the body.
    """

    __slots__ = ("count", "left", "rest")

    def __init__(self) -> None:
        self.count = 0
        #: Bytes up to where the next prefix begins, and what was there of it.
        self.left = 0
        self.rest = b""

    def feed(self, data: bytes) -> None:
        """More of the body."""
        if self.rest:
            data = self.rest + data
            self.rest = b""
        position = self.left
        size = len(data)
        while size - position >= PREFIX.size:
            position += PREFIX.size + PREFIX.unpack_from(data, position)[0]
            self.count += 1
        if position >= size:
            self.left = position - size
        else:
            self.left = 0
            self.rest = bytes(data[position:])
