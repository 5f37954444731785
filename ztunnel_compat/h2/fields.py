"""What a field section must be (RFC 9113 section 8); anything else is malformed.

Stricter than the RFC in one thing: values hold no control characters but tabs, as
HTTP/1.1 would have it, since what passes here may leave as that.
"""

from __future__ import annotations

import re
from typing import Any

from ztunnel_compat.h2.codes import ErrorCode
from ztunnel_compat.h2.errors import StreamFault
from ztunnel_compat.h2.static import Field

Headers = list[Field]

NAME_CHARACTERS = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
VALUE_CHARACTERS = bytes(c for c in range(256) if c == 9 or (c >= 32 and c != 127))
#: Fields of a connection, not of a message (section 8.2.2).
CONNECTION_FIELDS = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
#: The names that need a closer look.
SPECIAL = CONNECTION_FIELDS | {b"te", b"content-length", b"host"}
REQUEST_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority", b":protocol"})
#: What may take the place of another path in any request: an absolute path of visible
#: ASCII, without a fragment, which no target has (RFC 9112 section 3.2).
PLAIN_PATH = re.compile(rb"/[\x21\x22\x24-\x7e]*+")
#: A content-length that isn't there.
UNKNOWN = -1


class Fields(Headers):
    """A field section as received, pseudo-fields first; to be read, never changed.

    Blocks that were read before give the same object again (see memo). note: the
    owner's, for what it made of them; Connection.forget() drops both. family: of requests
    that differ in their :path alone, None: it isn't known.
    """

    note: Any = None
    family: Family | None = None


class Head:
    """A checked field section.

    length: of the content, or UNKNOWN; method: of a request; status: of a response;
    tunnel: a CONNECT request, extended or not, whose data is no content.
    """

    __slots__ = ("fields", "length", "method", "status", "tunnel")

    def __init__(
        self, fields: Headers, length: int, *, method: bytes = b"", status: int = 0
    ) -> None:
        self.fields = Fields(fields)
        self.length = length
        self.method = method
        self.status = status
        self.tunnel = method == b"CONNECT"


class Family:
    """Requests that differ in their :path alone, all of them checked when one is.

    fields, length, method: as a Head's; place: of :path in them; size: of the section
    without its path's bytes; note: the owner's, for what it made of one of them.
    """

    __slots__ = ("fields", "length", "method", "note", "place", "size")

    def __init__(self, head: Head, place: int, size: int) -> None:
        self.fields: Headers = head.fields
        self.length = head.length
        self.method = head.method
        self.place = place
        self.size = size
        self.note: Any = None

    def head(self, path: bytes) -> Head:
        """The one with this path, which PLAIN_PATH matches."""
        head = Head(self.fields, self.length, method=self.method)
        fields = head.fields
        fields[self.place] = (b":path", path)
        fields.family = self
        return head


def request_head(fields: Headers, *, extended: bool) -> Head:
    """Check a request; extended: whether we announced RFC 8441. Raises StreamFault."""
    pseudo = split_pseudo(fields)
    if not REQUEST_PSEUDO.issuperset(pseudo):
        raise malformed(f"unknown pseudo-fields in {sorted(pseudo)}")
    method = pseudo.get(b":method")
    if not method:
        raise malformed("a request without :method")
    length, host = check_regular(fields, len(pseudo))
    if b":protocol" in pseudo and not (extended and method == b"CONNECT"):
        raise malformed(f":protocol with {method!r}, or not announced")
    if method == b"CONNECT" and b":protocol" not in pseudo:
        if b":scheme" in pseudo or b":path" in pseudo or not pseudo.get(b":authority"):
            raise malformed("CONNECT takes :authority, and neither :scheme nor :path")
        return Head(fields, UNKNOWN, method=method)
    check_target(method, pseudo, host)
    return Head(fields, UNKNOWN if method == b"CONNECT" else length, method=method)


def check_target(method: bytes, pseudo: dict[bytes, bytes], host: bytes | None) -> None:
    """Check :scheme, :path and :authority of a request that has them (section 8.3.1)."""
    scheme = pseudo.get(b":scheme")
    path = pseudo.get(b":path")
    authority = pseudo.get(b":authority")
    if not scheme or not path:
        raise malformed("a request without :scheme or :path")
    if scheme not in {b"http", b"https"}:
        return
    if path[:1] != b"/" and not (path == b"*" and method == b"OPTIONS"):
        raise malformed(f":path {path[:40]!r}")
    if authority is None and host is None:
        raise malformed("neither :authority nor host")
    if authority == b"" or (authority is not None and b"@" in authority):
        raise malformed(f":authority {authority[:40]!r}")
    if authority is not None and host is not None and authority.lower() != host.lower():
        raise malformed(f":authority {authority[:40]!r} but host {host[:40]!r}")


def response_head(fields: Headers) -> Head:
    """Check a response; raises StreamFault."""
    pseudo = split_pseudo(fields)
    status = pseudo.get(b":status", b"")
    if len(pseudo) != 1 or len(status) != 3 or not status.isdigit() or status < b"100":
        raise malformed(f"pseudo-fields {sorted(pseudo.items())} of a response")
    if status == b"101":
        raise malformed("101, which HTTP/2 has no use for")
    length, _ = check_regular(fields, 1)
    return Head(fields, length, status=int(status))


def trailer_head(fields: Headers) -> Head:
    """Check trailers; raises StreamFault."""
    check_regular(fields, 0)
    return Head(fields, UNKNOWN)


def split_pseudo(fields: Headers) -> dict[bytes, bytes]:
    """The pseudo-fields in front, each once."""
    pseudo: dict[bytes, bytes] = {}
    for name, value in fields:
        if name[:1] != b":":
            break
        if name in pseudo:
            raise malformed(f"{name!r} twice")
        pseudo[name] = value
    return pseudo


def check_regular(fields: Headers, pseudo: int) -> tuple[int, bytes | None]:
    """Check all values, and the names after so many pseudo-fields.

    Returns content-length or UNKNOWN, and host or None. All values are looked at
    in one pass: what is not allowed is what remains when the rest is taken out.
    """
    if not fields:
        return UNKNOWN, None
    names = [field[0] for field in fields[pseudo:]]
    values = b"\n%b\n" % b"\n".join([field[1] for field in fields])
    if b"".join(names).translate(None, NAME_CHARACTERS) or b"" in names:
        raise malformed(f"field names {bad_names(names)}")
    if values.translate(None, VALUE_CHARACTERS) != b"\n" * (len(fields) + 1):
        raise malformed("a control character in a field value")
    if b"\n " in values or b" \n" in values or b"\n\t" in values or b"\t\n" in values:
        raise malformed("white space around a field value")
    if SPECIAL.isdisjoint(names):
        return UNKNOWN, None
    return check_special(fields[pseudo:])


def check_special(fields: Headers) -> tuple[int, bytes | None]:
    """Check the fields that say how messages and connections are framed."""
    length = UNKNOWN
    host: bytes | None = None
    for name, value in fields:
        if name in CONNECTION_FIELDS:
            raise malformed(f"{name.decode()} in HTTP/2")
        if name == b"te" and value.lower() != b"trailers":
            raise malformed(f"te {value[:40]!r}")
        if name == b"content-length":
            if not value.isdigit() or len(value) > 18 or length not in {UNKNOWN, int(value)}:
                raise malformed(f"content-length {value[:40]!r}, or two that differ")
            length = int(value)
        elif name == b"host":
            if host is not None:
                raise malformed("host twice")
            host = value
    return length, host


def bad_names(names: list[bytes]) -> list[bytes]:
    """The names that are no lower-case tokens, for a message."""
    return [n[:40] for n in names if not n or n.translate(None, NAME_CHARACTERS)][:3]


def malformed(reason: str) -> StreamFault:
    """A malformed message is a stream error (section 8.1.1)."""
    return StreamFault(ErrorCode.PROTOCOL_ERROR, reason)
