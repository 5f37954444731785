"""Field sections as the heads that HTTP/1.1 has too, and back.

What ztunnel_compat.h2 lets pass is well-formed HTTP/2; what is checked here would be
none in HTTP/1.1, where it may be bound.
"""

from __future__ import annotations

import re

from waypoint.errors import MessageError
from waypoint.layers.headers import CHUNKED, FIELD_LIMIT, Field
from waypoint.layers.request import HOST, METHOD, SECRET, WEBSOCKET, RequestHead
from waypoint.layers.response import SECRET as RESPONSE_SECRET
from waypoint.layers.response import ResponseHead, response_of
from waypoint.messages import Request, Response
from ztunnel_compat.h2.section import Section

#: As in a request line (see layers.request).
METHODS = re.compile(METHOD)
PATH = re.compile(rb"[\x21\x22\x24-\x7e]++")
#: Looked at one by one; all others go on as they are.
READ = SECRET | {
    b":method", b":scheme", b":authority", b":path", b":protocol", b"host", b"te",
    b"content-length", b"x-request-id", b"user-agent", b"x-forwarded-for", b"content-type",
}  # fmt: skip
#: Fields of an upgrade that HTTP/2 has no use for (RFC 8441 section 5).
HANDSHAKE = frozenset({b"sec-websocket-accept"})


def bad_request(reason: str) -> MessageError:
    """The error for what HTTP/1.1 couldn't say."""
    return MessageError(400, "http2.violation.of.messaging.rule", reason)


def read_request(fields: list[Field], *, end: bool) -> RequestHead:
    """A request's head; end: it has no body. Raises MessageError."""
    read: dict[bytes, bytes] = {}
    kept: list[Field] = []
    crumbs: list[bytes] = []
    for field in fields:
        name, value = field
        if name not in READ:
            kept.append(field)
        elif name == b"cookie":
            crumbs.append(value)
        else:
            read.setdefault(name, value)
            if name[:1] != b":" and name not in {b"host", b"te"}:
                kept.append(field)
    if len(fields) > FIELD_LIMIT + 5:
        raise MessageError(
            431, "http2.too_many_headers", f"{len(fields)} headers, more than {FIELD_LIMIT}"
        )
    if crumbs:
        # RFC 9113 section 8.2.3: one field in HTTP/1.1.
        kept.append((b"cookie", b"; ".join(crumbs)))
    upgrade = asked_protocol(read)
    request = checked(read, upgrade, tuple(kept))
    return RequestHead(
        request,
        body_of(read, end=end or bool(upgrade)),
        keep_alive=True,
        secret=bool(crumbs) or not read.keys().isdisjoint(SECRET),
        forward=None,
        request_id=read.get(b"x-request-id"),
        user_agent=read.get(b"user-agent"),
        forwarded_for=read.get(b"x-forwarded-for"),
        content_type=read.get(b"content-type"),
        upgrade=upgrade,
        trailers=b"te" in read,
    )


def asked_protocol(read: dict[bytes, bytes]) -> bytes:
    """What an extended CONNECT asks for, or nothing; raises MessageError."""
    if read[b":method"] != b"CONNECT":
        return b""
    protocol = read.get(b":protocol")
    if protocol is None:
        raise MessageError(403, "http2.connect_not_supported", "CONNECT is not supported")
    if protocol != WEBSOCKET:
        # RFC 9220 section 3.
        raise MessageError(501, "http2.unknown_protocol", f"protocol {protocol[:40]!r}")
    return WEBSOCKET


def checked(read: dict[bytes, bytes], upgrade: bytes, fields: tuple[Field, ...]) -> Request:
    """The request, when HTTP/1.1 can say it; raises MessageError."""
    method = b"GET" if upgrade else read[b":method"]
    path = read[b":path"]
    scheme = read[b":scheme"]
    authority = read.get(b":authority") or read.get(b"host", b"")
    if METHODS.fullmatch(method) is None or method == b"PRI":
        raise bad_request(f":method {method[:40]!r} is none")
    if PATH.fullmatch(path) is None:
        raise bad_request(f":path {path[:40]!r} holds what no target may")
    if scheme not in {b"http", b"https"}:
        raise bad_request(f":scheme {scheme[:40]!r} is neither http nor https")
    if HOST.fullmatch(authority) is None:
        raise bad_request(f":authority {authority[:80]!r} is none")
    return Request(method, scheme, authority.lower(), path, fields)


def body_of(read: dict[bytes, bytes], *, end: bool) -> int:
    """A message's length, or CHUNKED when nobody tells it."""
    if end:
        return 0
    length = read.get(b"content-length")
    return CHUNKED if length is None else int(length)


def request_fields(
    request: Request, *, trailers: bool = False, upgrade: bytes = b""
) -> list[Field]:
    """A request's field section; upgrade: as an extended CONNECT for that."""
    method = b"CONNECT" if upgrade else request.method
    fields = [(b":method", method), (b":scheme", request.scheme), (b":path", request.path)]
    fields.append((b":authority", request.authority))
    if upgrade:
        fields.append((b":protocol", upgrade))
    fields += request.fields
    if trailers:
        fields.append((b"te", b"trailers"))
    return fields


def read_response(fields: list[Field], *, end: bool) -> ResponseHead:
    """A response's head; end: it has no body."""
    read = dict(fields)
    status = int(read[b":status"])
    kept = tuple(fields[1:])
    return ResponseHead(
        status,
        body_of(read, end=end),
        keep_alive=True,
        secret=not read.keys().isdisjoint(RESPONSE_SECRET),
        forward=b"",
        verbatim=False,
        response=Response(status, kept),
        section=Section.of(fields),
        grpc_status=read.get(b"grpc-status"),
    )


def response_section(head: ResponseHead) -> Section:
    """A response's field section, made when it is first asked for."""
    section = head.section
    if section is None:
        response = response_of(head)
        fields = [(b":status", b"%d" % response.status), *response.fields]
        section = head.section = Section.of(fields)
    return section


def switched_fields(head: ResponseHead) -> list[Field]:
    """The answer to an extended CONNECT, of the one to an upgrade."""
    fields = response_of(head).fields
    dropped = HANDSHAKE | {b"content-length"}
    return [(b":status", b"200"), *(field for field in fields if field[0] not in dropped)]
