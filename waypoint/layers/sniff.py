"""What a connection's first bytes say of its protocol."""

from __future__ import annotations

import enum
import re

from waypoint.layers.headers import TOKEN

#: RFC 9113 section 3.4.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
REQUEST_LINE = re.compile(rb"(?:\r\n)?" + TOKEN + rb"{1,32} [\x21-\x7e]++ HTTP/1\.[01]\r?\n")
#: How a request line may begin that isn't whole.
BEGINNING = re.compile(rb"(?:\r\n)?" + TOKEN + rb"{1,32}(?: [\x21-\x7e]*+(?: [HTP/1.0\r]*)?)?")
#: Bytes in which a request line, and a ClientHello, must show.
LINE_MOST = 8 * 1024
HELLO_MOST = 16 * 1024 + 5
HANDSHAKE = 22
CLIENT_HELLO = 1
SERVER_NAME = 0


class Kind(enum.Enum):
    """What a connection speaks."""

    HTTP1 = "HTTP/1.1"
    HTTP2 = "HTTP/2"
    TLS = "TLS"
    BYTES = "bytes"


def kind_of_http(first: bytes) -> Kind | None:
    """Which HTTP it is, for one that is some; None: more bytes will tell."""
    if not first.startswith(PREFACE[: len(first)]):
        return Kind.HTTP1
    return Kind.HTTP2 if len(first) >= len(PREFACE) else None


def kind_of(first: bytes) -> Kind | None:
    """What it is, for one that may be anything; None: more bytes will tell."""
    if first.startswith(PREFACE[: len(first)]):
        return Kind.HTTP2 if len(first) >= len(PREFACE) else None
    if first[0] == HANDSHAKE:
        if first[1:2] not in {b"", b"\x03"} or len(first) >= HELLO_MOST:
            return Kind.BYTES
        return Kind.TLS if hello_is_whole(first) else None
    if REQUEST_LINE.match(first) is not None:
        return Kind.HTTP1
    partial = BEGINNING.fullmatch(first) is not None or first in {b"\r", b"\r\n"}
    return None if partial and len(first) < LINE_MOST else Kind.BYTES


def hello_is_whole(first: bytes) -> bool:
    """Whether the first TLS record is there as a whole."""
    return len(first) >= 5 and len(first) >= 5 + int.from_bytes(first[3:5], "big")


def server_name(first: bytes) -> str:
    """The name that a ClientHello asks for, in lower case; empty: none, or no sound one.

    first: from the TLS record's first byte on (RFC 8446 section 4.1.2, RFC 6066
    section 3). A ClientHello in several records isn't read.
    """
    try:
        return find_name(first)
    except IndexError:
        return ""


def find_name(first: bytes) -> str:
    """The same; raises IndexError where a length leads out of the record."""
    record = Cursor(first[5 : 5 + int.from_bytes(first[3:5], "big")])
    if record.number(1) != CLIENT_HELLO:
        return ""
    hello = Cursor(record.block(3))
    hello.skip(2 + 32)
    for width in (1, 2, 1):
        hello.block(width)
    extensions = Cursor(hello.block(2))
    while extensions.left():
        kind = extensions.number(2)
        content = extensions.block(2)
        if kind != SERVER_NAME:
            continue
        names = Cursor(Cursor(content).block(2))
        while names.left():
            if names.number(1) == 0:
                name = names.block(2)
                return name.decode("ascii").lower() if name.isascii() else ""
            names.block(2)
    return ""


class Cursor:
    """Reads bytes in their order; raises IndexError beyond their end."""

    __slots__ = ("data", "position")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def left(self) -> bool:
        """Whether there is more."""
        return self.position < len(self.data)

    def skip(self, count: int) -> bytes:
        """So many bytes."""
        start = self.position
        self.position += count
        if self.position > len(self.data):
            raise IndexError
        return self.data[start : self.position]

    def number(self, width: int) -> int:
        """A number of so many bytes."""
        return int.from_bytes(self.skip(width), "big")

    def block(self, width: int) -> bytes:
        """Bytes behind their length, a number of so many bytes."""
        return self.skip(self.number(width))
