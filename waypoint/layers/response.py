"""Response heads: bytes in, an immutable record out (RFC 9112 section 4)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from waypoint.errors import MessageError
from waypoint.layers.headers import (
    CHUNKED,
    HOP_BY_HOP,
    NO_OPTIONS,
    UNTIL_CLOSE,
    Field,
    body_length,
    connection_options,
    is_chunked,
    kept_fields,
    split_fields,
)
from waypoint.messages import Response
from ztunnel_compat.h2.section import Section

#: Many servers leave out the space after the status when they give no reason.
STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*+))?\r\n")
SECRET = frozenset({b"set-cookie", b"www-authenticate", b"authentication-info"})
READ = SECRET | HOP_BY_HOP | {b"content-length", b"transfer-encoding", b"grpc-status"}
#: What a Response's fields leave out.
DROPPED = HOP_BY_HOP | {b"transfer-encoding"}


@dataclass(slots=True)
class ResponseHead:
    """A response that may be passed on, whatever protocol it came by.

    body: a length, CHUNKED (of a length that isn't told) or UNTIL_CLOSE, for any method
    but HEAD; forward: the head for the next HTTP/1.1 hop with its empty line, or empty
    while nobody asked for it (see render); verbatim: it is as it came; sent: the fields
    as they came, or what there is of response; section: for the next HTTP/2 hop.
    """

    status: int
    body: int
    keep_alive: bool
    secret: bool
    forward: bytes
    verbatim: bool
    sent: list[Field] = field(default_factory=list, compare=False)
    options: frozenset[bytes] = field(default=NO_OPTIONS, compare=False)
    response: Response | None = field(default=None, compare=False)
    section: Section | None = field(default=None, compare=False)
    grpc_status: bytes | None = field(default=None, compare=False)


def parse_response(head: bytes) -> ResponseHead:
    """Read a head that ends with its empty line; raises MessageError."""
    line = STATUS_LINE.match(head)
    if line is None:
        raise broken("the status line breaks RFC 9112 section 4")
    minor, code, reason = line.groups()
    status = int(code)
    fields = split_fields(head[line.end() : -2])
    read: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        key = name.lower()
        if key in READ:
            read.setdefault(key, []).append(value)
    options = connection_options(read.get(b"connection", []))
    verbatim = minor == b"1" and reason is not None and read.keys().isdisjoint(HOP_BY_HOP)
    declared = response_body(read, modern=minor == b"1")
    bodiless = status < 200 or status in {204, 304}
    if (status < 200 or status == 204) and declared != UNTIL_CLOSE:
        # RFC 9110 section 8.6: these never carry framing headers.
        options |= {b"content-length", b"transfer-encoding"}
        verbatim = False
    forward = head
    if not verbatim:
        start = b"HTTP/1.1 " + code + b" " + (reason or b"") + b"\r\n"
        forward = start + kept_fields(fields, options) + b"\r\n"
    keep_alive = b"close" not in options and (minor == b"1" or b"keep-alive" in options)
    return ResponseHead(
        status=status,
        body=0 if bodiless else declared,
        keep_alive=keep_alive,
        secret=not read.keys().isdisjoint(SECRET),
        forward=forward,
        verbatim=verbatim,
        sent=fields,
        options=options,
        grpc_status=read[b"grpc-status"][0] if b"grpc-status" in read else None,
    )


def response_of(head: ResponseHead) -> Response:
    """A response as decisions see it; made when it is first asked for."""
    response = head.response
    if response is None:
        dropped = DROPPED | head.options
        fields = [(name.lower(), value.rstrip(b" \t")) for name, value in head.sent]
        kept = tuple(f for f in fields if f[0] not in dropped)
        response = head.response = Response(head.status, kept)
    return response


def altered(head: ResponseHead, response: Response) -> ResponseHead:
    """The same head with another response in it."""
    return replace(
        head,
        status=response.status,
        secret=True,
        forward=b"",
        verbatim=False,
        response=response,
        section=None,
    )


def broken(reason: str) -> MessageError:
    """The error for what is no HTTP/1.1 response."""
    return MessageError(502, "protocol_error", reason)


def response_body(read: dict[bytes, list[bytes]], *, modern: bool) -> int:
    """What the headers say of the body's end (RFC 9112 section 6.3).

    modern: the response says HTTP/1.1; an older one has no transfer codings.
    Raises MessageError where two readers might disagree.
    """
    lengths = read.get(b"content-length")
    codings = read.get(b"transfer-encoding")
    if codings is not None:
        if lengths is not None or not modern or not is_chunked(codings):
            raise broken("transfer-encoding other than chunked, or beside content-length")
        return CHUNKED
    if lengths is None:
        return UNTIL_CLOSE
    if len(lengths) > 1:
        raise broken("several content-lengths")
    return body_length(lengths[0])


def closing(forward: bytes) -> bytes:
    """The same head, telling the client that the connection ends with it."""
    return forward[:-2] + b"connection: close\r\n\r\n"
