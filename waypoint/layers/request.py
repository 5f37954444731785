"""Request heads: bytes in, an immutable record out (RFC 9112 section 3).

The record holds the head as the next hop gets it: byte for byte as it came,
unless a hop-by-hop header or an absolute target had to go.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from waypoint.errors import MessageError
from waypoint.layers.headers import (
    CHUNKED,
    HOP_BY_HOP,
    TOKEN,
    Field,
    body_length,
    connection_options,
    kept_fields,
    list_items,
    split_fields,
)

#: Any printable ASCII but "#": a fragment never travels (Envoy refuses it too).
REQUEST_LINE = re.compile(
    rb"(" + TOKEN + rb"++) ([\x21\x22\x24-\x7e]++) HTTP/([0-9])\.([0-9])\r\n"
)
ABSOLUTE_FORM = re.compile(rb"(?i:http)://([^/?]+)(/[^?]*)?(\?.*)?")
HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9._~!$&'()*+,;=%\-]++)(?::[0-9]{0,5})?")
#: What can't become sound by more bytes: a lone LF or CR, NUL, no method in front.
HOPELESS = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|\x00|\A(?!" + TOKEN + rb")[^\r]")

#: Their values are secrets: such heads stay out of what connections share.
SECRET = frozenset({b"authorization", b"proxy-authorization", b"cookie"})
READ = SECRET | HOP_BY_HOP | {
    b"host", b"content-length", b"transfer-encoding",
    b"x-request-id", b"user-agent", b"x-forwarded-for",
}  # fmt: skip
#: Sending these twice does what sending them once does (RFC 9110 section 9.2.2).
IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})


class RequestHead(NamedTuple):
    """A request that may be passed on.

    target: in origin form (or ``*``); authority: the Host, in lower case; body: a
    length, or CHUNKED; forward: the head for the next hop, without the empty line;
    request_id, user_agent, forwarded_for: as sent, or None.
    """

    method: bytes
    target: bytes
    authority: bytes
    fields: list[Field]
    body: int
    keep_alive: bool
    secret: bool
    forward: bytes
    request_id: bytes | None
    user_agent: bytes | None
    forwarded_for: bytes | None

    def header(self, name: bytes) -> bytes | None:
        """A header's value, several joined by commas; None when there is none.

        name: in lower case, or a pseudo-header as HTTP/2 has it.
        """
        if name[:1] == b":":
            return PSEUDO[name](self) if name in PSEUDO else None
        values = [v.rstrip(b" \t") for n, v in self.fields if n.lower() == name]
        return b",".join(values) if values else None


PSEUDO: dict[bytes, Callable[[RequestHead], bytes]] = {
    b":method": lambda head: head.method,
    b":path": lambda head: head.target,
    b":authority": lambda head: head.authority,
    b":scheme": lambda _: b"http",
}


def parse_request(head: bytes) -> RequestHead:
    """Read a head that ends with its empty line; raises MessageError."""
    line = REQUEST_LINE.match(head)
    if line is None:
        raise bad_request("the request line breaks RFC 9112 section 3")
    fields = split_fields(head[line.end() : -2])
    method, target, major, minor = line.groups()
    if (major, minor) != (b"1", b"1"):
        raise unsupported_version(major, minor)
    read: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        key = name.lower()
        if key in READ:
            read.setdefault(key, []).append(value)
    host = sole_host(read.get(b"host", []))
    body = request_body(read)
    options = connection_options(read.get(b"connection", []))
    path = target if target[:1] == b"/" else origin_form(method, target, host)
    if path is target and read.keys().isdisjoint(HOP_BY_HOP):
        forward = head[:-2]
    else:
        forward = method + b" " + path + b" HTTP/1.1\r\n" + kept_fields(fields, options)
    return RequestHead(
        method,
        path,
        host.lower(),
        fields,
        body,
        b"close" not in options,
        not read.keys().isdisjoint(SECRET),
        forward,
        None if b"x-request-id" in options else first(read, b"x-request-id"),
        first(read, b"user-agent"),
        first(read, b"x-forwarded-for"),
    )


def bad_request(reason: str) -> MessageError:
    """The error for what is no HTTP/1.1 request."""
    return MessageError(400, "http1.codec_error", reason)


def unsupported_version(major: bytes, minor: bytes) -> MessageError:
    """HTTP/1.0 is asked to upgrade, as Envoy does; other versions have no place here."""
    version = f"HTTP/{major.decode()}.{minor.decode()}"
    if version == "HTTP/1.0":
        return MessageError(426, "low_version", "HTTP/1.0 is not accepted")
    return MessageError(505, "http1.unsupported_version", f"{version} is not HTTP/1.1")


def first(read: dict[bytes, list[bytes]], name: bytes) -> bytes | None:
    """A header's first value, or None."""
    values = read.get(name)
    return values[0].rstrip(b" \t") if values else None


def sole_host(values: list[bytes]) -> bytes:
    """The Host; raises MessageError unless there is exactly one, and a sound one."""
    if len(values) != 1:
        raise MessageError(400, "missing_host_header", f"{len(values)} Host headers, not one")
    host = values[0].rstrip(b" \t")
    if HOST.fullmatch(host) is None:
        raise bad_request(f"host {host[:80]!r} is none")
    return host


def request_body(read: dict[bytes, list[bytes]]) -> int:
    """A request body's length or CHUNKED (RFC 9112 section 6.3); raises MessageError."""
    lengths = read.get(b"content-length")
    codings = read.get(b"transfer-encoding")
    if codings is not None:
        if lengths is not None:
            raise MessageError(
                400,
                "http1.content_length_and_chunked_not_allowed",
                "both content-length and transfer-encoding",
            )
        return transfer_coding(codings)
    if lengths is None:
        return 0
    if len(lengths) > 1:
        raise MessageError(400, "http1.invalid_content_length", "several content-lengths")
    return body_length(lengths[0])


def transfer_coding(values: list[bytes]) -> int:
    """CHUNKED when that is the only coding; raises MessageError otherwise.

    A final coding other than chunked leaves the end unknown (400); a coding in
    front of it is one we don't have (501).
    """
    codings = list_items(values)
    if codings == [b"chunked"]:
        return CHUNKED
    status = 501 if codings[-1:] == [b"chunked"] and codings.count(b"chunked") == 1 else 400
    raise MessageError(
        status, "http1.invalid_transfer_encoding", "transfer-encoding other than chunked"
    )


def origin_form(method: bytes, target: bytes, host: bytes) -> bytes:
    """The path of a target in absolute form (RFC 9112 section 3.2); raises MessageError."""
    if method == b"CONNECT":
        raise MessageError(403, "http1.connect_not_supported", "CONNECT is not supported")
    if target == b"*" and method == b"OPTIONS":
        return target
    parts = ABSOLUTE_FORM.fullmatch(target)
    if parts is None:
        raise MessageError(400, "http1.invalid_url", f"target {target[:80]!r} is no path")
    authority, path, query = parts.groups(b"")
    if authority.lower() != host.lower():
        raise MessageError(400, "http1.invalid_url", "the target's authority is not the Host")
    return (path or b"/") + query
