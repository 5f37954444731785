"""Bodies on their way: bytes are passed on as they came, only the end is found.

A reader takes what arrived and gives what may be passed on: framing and all where
the next hop frames alike, or the content alone. What it gives has been checked: a
chunk's size line is held back until it is whole and sound, so the next hop never sees
framing that this one would refuse.
"""

from __future__ import annotations

import re
from typing import Protocol

from waypoint.errors import MessageError
from waypoint.layers.headers import CHUNKED, TOKEN, UNTIL_CLOSE, Field, split_fields

#: Size, extensions (RFC 9112 section 7.1.1; white space around them refused). No
#: group is repeated possessively: CPython before 3.11.5 gets that wrong.
QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
EXTENSION = rb";" + TOKEN + rb"++(?:=(?:" + TOKEN + rb"++|" + QUOTED + rb"))?"
SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:" + EXTENSION + rb")*)\r\n")
SIZE_LINE_LIMIT = 1024
TRAILER_LIMIT = 8 * 1024
#: A line end that isn't CRLF; at the end of what arrived, CR may still become one.
LONE = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
#: Extensions may take this much, and as much as the data on top of it.
EXTENSION_ALLOWANCE = 16 * 1024
#: Trailers that would change what the message is, were they merged into its head.
FORBIDDEN_TRAILERS = frozenset(
    {b"content-length", b"transfer-encoding", b"host", b"connection"}
)


class BodyReader(Protocol):
    """done: the end was seen; rest: what came after it; data: payload bytes so far;
    trailers: what came with the end, as sent, when the content alone is passed on.
    """

    done: bool
    rest: bytes
    data: int
    trailers: tuple[Field, ...]

    def feed(self, arrived: bytes) -> bytes:
        """What may be passed on now; raises MessageError for bad framing."""


class LengthBody:
    """A body of a known length."""

    __slots__ = ("data", "done", "remaining", "rest", "trailers")

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.done = length == 0
        self.rest = b""
        self.data = 0
        self.trailers: tuple[Field, ...] = ()

    def feed(self, arrived: bytes) -> bytes:
        """Pass on what belongs to the body."""
        size = len(arrived)
        if size < self.remaining:
            self.remaining -= size
            self.data += size
            return arrived
        end = self.remaining
        self.data += end
        self.remaining = 0
        self.done = True
        if size == end:
            return arrived
        self.rest = arrived[end:]
        return arrived[:end]


class UntilCloseBody:
    """A body that ends with the connection."""

    __slots__ = ("data", "done", "rest", "trailers")

    def __init__(self) -> None:
        self.done = False
        self.rest = b""
        self.data = 0
        self.trailers: tuple[Field, ...] = ()

    def feed(self, arrived: bytes) -> bytes:
        """Pass everything on."""
        self.data += len(arrived)
        return arrived


class ChunkedBody:
    """A chunked body (RFC 9112 section 7.1).

    raw: it is passed on framing and all, for a next hop that frames alike; else its
    content alone, and trailers tells what came with its end.
    """

    __slots__ = (
        "at_trailers", "carry", "data", "done", "extensions", "pieces", "remaining", "rest",
        "trailers",
    )  # fmt: skip

    def __init__(self, *, raw: bool = True) -> None:
        self.pieces: list[bytes] | None = None if raw else []
        self.trailers: tuple[Field, ...] = ()
        #: Bytes of the current chunk still to come, its CRLF included; 0 between chunks.
        self.remaining = 0
        #: The start of a line that is not whole yet.
        self.carry = b""
        self.at_trailers = False
        self.extensions = 0
        self.done = False
        self.rest = b""
        self.data = 0

    def feed(self, arrived: bytes) -> bytes:
        """Pass on whole lines and data; hold the start of a line back."""
        passed = self.scan(arrived)
        pieces = self.pieces
        if pieces is None:
            return passed
        content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return content

    def scan(self, arrived: bytes) -> bytes:
        """Go over what arrived; the part of it that is sound."""
        if self.carry:
            arrived = self.carry + arrived
            self.carry = b""
        position = 0
        size = len(arrived)
        while position < size:
            if self.remaining:
                position = self.pass_data(arrived, position)
            elif self.at_trailers:
                end = self.end_of_trailers(arrived, position)
                if end is None:
                    break
                self.done = True
                self.rest = arrived[end:]
                return arrived[:end]
            else:
                line = SIZE_LINE.match(arrived, position)
                if line is None or line.end() - position > SIZE_LINE_LIMIT:
                    self.check_partial(arrived, position)
                    break
                self.start_chunk(line.group(1), line.group(2))
                position = line.end()
        if position < size:
            self.carry = arrived[position:]
            return arrived[:position]
        return arrived

    def start_chunk(self, digits: bytes, extensions: bytes) -> None:
        """Take a size line."""
        length = int(digits, 16)
        if length >= 1 << 62:
            raise bad_chunk(f"chunk of {length} bytes")
        if extensions:
            self.extensions += len(extensions)
            if self.extensions > EXTENSION_ALLOWANCE + self.data:
                raise bad_chunk("more chunk extensions than data")
        if length:
            self.remaining = length + 2
        else:
            self.at_trailers = True

    def pass_data(self, arrived: bytes, position: int) -> int:
        """Go over what arrived of the current chunk; the position after it."""
        available = len(arrived) - position
        pieces = self.pieces
        if available < self.remaining - 2:
            if pieces is not None:
                pieces.append(arrived[position:])
            self.remaining -= available
            self.data += available
            return len(arrived)
        if self.remaining > 2:
            if pieces is not None:
                pieces.append(arrived[position : position + self.remaining - 2])
            self.data += self.remaining - 2
            position += self.remaining - 2
            self.remaining = 2
        ending = arrived[position : position + self.remaining]
        if not b"\r\n"[2 - self.remaining :].startswith(ending):
            raise bad_chunk("chunk data is not followed by CRLF")
        self.remaining -= len(ending)
        return position + len(ending)

    def check_partial(self, arrived: bytes, position: int) -> None:
        """A line that didn't match: an error, unless it just isn't whole yet."""
        line = arrived[position : position + SIZE_LINE_LIMIT]
        unsound = b"\n" in line or b"\r" in line[:-1] or not line[:1].isalnum()
        if unsound or len(line) == SIZE_LINE_LIMIT:
            raise bad_chunk(f"chunk size line {line[:40]!r}")

    def end_of_trailers(self, arrived: bytes, position: int) -> int | None:
        """Where the message ends, or None when the trailers are not whole yet."""
        if arrived.startswith(b"\r\n", position):
            return position + 2
        found = arrived.find(b"\r\n\r\n", position, position + TRAILER_LIMIT)
        if found < 0:
            if len(arrived) - position >= TRAILER_LIMIT:
                raise bad_chunk(f"trailers of more than {TRAILER_LIMIT} bytes")
            if LONE.search(arrived, position) is not None:
                raise bad_chunk("a trailer line ends without CRLF")
            return None
        fields = split_fields(arrived[position : found + 2])
        for name, _ in fields:
            if name.lower() in FORBIDDEN_TRAILERS:
                raise bad_chunk(f"trailer {name.decode()}")
        self.trailers = tuple(fields)
        return found + 4


def bad_chunk(reason: str) -> MessageError:
    """The error for broken chunked framing."""
    return MessageError(400, "http1.codec_error", reason)


def body_reader(framing: int, *, raw: bool = True) -> BodyReader:
    """The reader for a length, CHUNKED or UNTIL_CLOSE; raw: see ChunkedBody."""
    if framing == CHUNKED:
        return ChunkedBody(raw=raw)
    if framing == UNTIL_CLOSE:
        return UntilCloseBody()
    return LengthBody(framing)
