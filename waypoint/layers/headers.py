"""Header blocks: checked and split by one regular expression in one pass.

RFC 9112 section 5, strictly: CRLF only, no white space before the colon, no
folded lines, no control characters. Whatever a second parser might read
differently is refused, because that is what request smuggling is made of.
"""

from __future__ import annotations

import re

from waypoint.errors import MessageError

#: A name as sent and its value, with white space trimmed from its front only.
Field = tuple[bytes, bytes]

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
#: Envoy's defaults, which Istio keeps.
HEAD_LIMIT = 60 * 1024
FIELD_LIMIT = 100

FIELD = re.compile(
    rb"^(" + TOKEN + rb"++):[ \t]*+([^\x00-\x08\x0a-\x1f\x7f]*+)\r\n", re.MULTILINE
)

#: How a message's body ends: a length from 0 on, or one of these.
CHUNKED = -1
UNTIL_CLOSE = -2

#: Hop-by-hop (RFC 9110 section 7.6.1), whether Connection names them or not.
HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"http2-settings"}
)
NO_OPTIONS: frozenset[bytes] = frozenset()
#: What Connection must not name: dropping these would change what a message is.
NEVER_HOP_BY_HOP = frozenset({b"host", b"content-length", b"transfer-encoding"})


def split_fields(block: bytes) -> list[Field]:
    """Split header lines, each ended by CRLF, without the empty line after them.

    Every match starts where a line does and takes exactly that line, so the
    block is sound when there are as many matches as line ends. Raises
    MessageError: 400 for a line that is no header, 431 for too many of them.
    """
    fields: list[Field] = FIELD.findall(block)
    if len(fields) != block.count(b"\n"):
        raise MessageError(400, "http1.codec_error", "a header line breaks RFC 9112 section 5")
    if len(fields) > FIELD_LIMIT:
        raise MessageError(
            431, "http1.too_many_headers", f"{len(fields)} headers, more than {FIELD_LIMIT}"
        )
    return fields


def list_items(values: list[bytes]) -> list[bytes]:
    """The items of a comma-separated header, in lower case, empty ones left out."""
    items = (item.strip(b" \t").lower() for item in b",".join(values).split(b","))
    return [item for item in items if item]


def body_length(value: bytes) -> int:
    """A Content-Length; raises MessageError unless it is up to 18 digits."""
    digits = value.rstrip(b" \t")
    if not digits.isdigit() or len(digits) > 18:
        raise MessageError(
            400, "http1.invalid_content_length", f"content-length {value[:40]!r} is no length"
        )
    return int(digits)


def is_chunked(values: list[bytes]) -> bool:
    """Whether that is the one transfer coding, in so many words: an empty item in a list, or
    an empty line more, means nothing to some and something to others.
    """
    return len(values) == 1 and values[0].strip(b" \t").lower() == b"chunked"


def connection_options(values: list[bytes]) -> frozenset[bytes]:
    """What Connection says; raises MessageError when it names a framing header."""
    if not values:
        return NO_OPTIONS
    options = frozenset(list_items(values))
    if not options.isdisjoint(NEVER_HOP_BY_HOP):
        raise MessageError(
            400, "http1.connection_header_rejected", "connection names a header that must stay"
        )
    return options


def kept_fields(fields: list[Field], options: frozenset[bytes]) -> bytes:
    """Header lines for the next hop: those that are not for this one only."""
    lines = []
    for name, value in fields:
        key = name.lower()
        if key not in HOP_BY_HOP and key not in options:
            lines.append(name + b": " + value + b"\r\n")
    return b"".join(lines)
