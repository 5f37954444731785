"""Heads for the next HTTP/1.1 hop, of messages that came otherwise or were changed."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from waypoint.layers.headers import CHUNKED, UNTIL_CLOSE, Field
from waypoint.layers.request import WEBSOCKET
from waypoint.messages import Request, Response

#: Methods that mean nothing by a body: only with the others, one of no bytes is told.
BODILESS = frozenset({b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT"})
#: What a switch to another protocol is told by (RFC 9110 section 7.8).
UPGRADE_LINES = b"connection: upgrade\r\nupgrade: " + WEBSOCKET + b"\r\n"
#: Trailers of one hop, or that would change what the message is.
NO_TRAILERS = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"trailer",
        b"transfer-encoding", b"content-length", b"host",
    }
)  # fmt: skip


def request_wire(request: Request, body: int, *, upgrade: bool = False) -> bytes:
    """A request's head without its empty line; body: a length or CHUNKED."""
    lines = [
        b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (request.method, request.path, request.authority)
    ]
    lines += [name + b": " + value + b"\r\n" for name, value in request.fields]
    if upgrade:
        lines.append(UPGRADE_LINES)
    elif body == CHUNKED:
        lines.append(b"transfer-encoding: chunked\r\n")
    elif not body and request.method not in BODILESS and not has_length(request.fields):
        lines.append(b"content-length: 0\r\n")
    return b"".join(lines)


def response_wire(response: Response, body: int, *, bodiless: bool = False) -> bytes:
    """A response's head with its empty line; bodiless: it answers HEAD."""
    status = response.status
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, phrase(status))]
    fields = response.fields
    if status < 200 or status == 204:
        # RFC 9110 section 8.6: these never carry framing headers.
        fields = tuple(f for f in fields if f[0] != b"content-length")
    lines += [name + b": " + value + b"\r\n" for name, value in fields]
    if status >= 200 and status not in {204, 304} and not bodiless:
        if body == CHUNKED:
            lines.append(b"transfer-encoding: chunked\r\n")
        elif body != UNTIL_CLOSE and not has_length(response.fields):
            lines.append(b"content-length: %d\r\n" % body)
    lines.append(b"\r\n")
    return b"".join(lines)


def phrase(status: int) -> bytes:
    """A status's reason phrase, or nothing."""
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""


def has_length(fields: tuple[Field, ...]) -> bool:
    """Whether there is a content-length."""
    return any(name == b"content-length" for name, _ in fields)


def chunk(data: bytes) -> bytes:
    """Content as a chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Sequence[Field] = ()) -> bytes:
    """The end of a chunked body."""
    if not trailers:
        return b"0\r\n\r\n"
    lines = [name + b": " + value + b"\r\n" for name, value in trailers]
    return b"0\r\n" + b"".join(lines) + b"\r\n"


def kept_trailers(fields: Sequence[Field]) -> list[Field]:
    """Trailers that may be passed on, names in lower case."""
    lowered = ((name.lower(), value.strip(b" \t")) for name, value in fields)
    return [field for field in lowered if field[0] not in NO_TRAILERS]
