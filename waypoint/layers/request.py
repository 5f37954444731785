"""Request heads: bytes in, an immutable record out (RFC 9112 section 3).

The record holds the head as the next hop gets it: byte for byte as it came,
unless a hop-by-hop header or an absolute target had to go.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from waypoint.errors import MessageError
from waypoint.layers.headers import (
    CHUNKED,
    HOP_BY_HOP,
    NO_OPTIONS,
    TOKEN,
    Field,
    body_length,
    connection_options,
    is_chunked,
    kept_fields,
    list_items,
    split_fields,
)
from waypoint.messages import Request

#: No letters in lower case: methods are case-sensitive, but not to every endpoint, and a
#: policy about GET says nothing of get (Envoy and nginx refuse it too).
METHOD = rb"[!#$%&'*+\-.^_`|~0-9A-Z]++"
#: Any printable ASCII but "#": a fragment never travels (Envoy refuses it too).
REQUEST_LINE = re.compile(
    rb"(" + METHOD + rb") ([\x21\x22\x24-\x7e]++) HTTP/([0-9])\.([0-9])\r\n"
)
ABSOLUTE_FORM = re.compile(rb"(?i:http)://([^/?]+)(?:(/[^?]*)(\?.*)?)?")
HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9._~!$&'()*+,;=%\-]++)(?::[0-9]{0,5})?")
#: What can't become sound by more bytes: a lone LF or CR, NUL, no method in front.
HOPELESS = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|\x00|\A(?!" + TOKEN + rb")[^\r]")

#: Their values are secrets: such heads stay out of what connections share.
SECRET = frozenset({b"authorization", b"proxy-authorization", b"cookie"})
READ = SECRET | HOP_BY_HOP | {
    b"host", b"content-length", b"transfer-encoding",
    b"x-request-id", b"user-agent", b"x-forwarded-for", b"content-type",
}  # fmt: skip
#: What a Request's fields leave out: of one hop only, or told otherwise.
DROPPED = HOP_BY_HOP | {b"host", b"transfer-encoding"}
WEBSOCKET = b"websocket"
#: Header lines are remembered up to so many bytes.
LONGEST_BLOCK = 4096
#: Sending these twice does what sending them once does (RFC 9110 section 9.2.2).
IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})


class RequestHead(NamedTuple):
    """A request that may be passed on, whatever protocol it came by.

    request: as decisions see it; body: a length, or CHUNKED (of a length that isn't
    told); forward: the head for the next HTTP/1.1 hop, without the empty line, or None
    when it has to be rendered; upgrade: ``websocket`` when that is what is asked for,
    else empty; request_id, user_agent, forwarded_for, content_type: as sent, or None;
    trailers: the client takes them (TE).
    """

    request: Request
    body: int
    keep_alive: bool
    secret: bool
    forward: bytes | None
    request_id: bytes | None
    user_agent: bytes | None
    forwarded_for: bytes | None
    content_type: bytes | None = None
    upgrade: bytes = b""
    trailers: bool = False


class Block(NamedTuple):
    """The header lines of a request, read; they say the same whatever line is before them.

    raw, fields: as they came; kept: as decisions see them; options: of Connection;
    plain: nothing in them is for this hop only; upgrade: values of Upgrade, or None.
    """

    raw: bytes
    fields: list[Field]
    kept: tuple[Field, ...]
    host: bytes
    body: int
    options: frozenset[bytes]
    plain: bool
    secret: bool
    upgrade: list[bytes] | None
    request_id: bytes | None
    user_agent: bytes | None
    forwarded_for: bytes | None
    content_type: bytes | None
    trailers: bool


class Blocks:
    """A connection's last header lines, from their second sighting on: clients mostly
    send the same again, with another path.
    """

    __slots__ = ("block", "sighting")

    def __init__(self) -> None:
        self.block: Block | None = None
        self.sighting = 0

    def read(self, raw: bytes) -> Block:
        """The lines, remembered or read; raises MessageError."""
        block = self.block
        if block is not None and block.raw == raw:
            return block
        block = parse_block(raw)
        sighting = hash(raw)
        same = sighting == self.sighting and len(raw) <= LONGEST_BLOCK
        self.block = block if same else None
        self.sighting = sighting
        return block


def parse_block(raw: bytes) -> Block:
    """Read header lines, without the empty line after them; raises MessageError."""
    fields = split_fields(raw)
    read: dict[bytes, list[bytes]] = {}
    lowered = []
    for name, value in fields:
        key = name.lower()
        if key in READ:
            read.setdefault(key, []).append(value)
        if key not in DROPPED:
            lowered.append((key, value.rstrip(b" \t")))
    host = sole_host(read.get(b"host", []))
    body = request_body(read)
    options = NO_OPTIONS
    plain = read.keys().isdisjoint(HOP_BY_HOP)
    if not plain:
        options = connection_options(read.get(b"connection", []))
        lowered = [field for field in lowered if field[0] not in options]
    return Block(
        raw=raw,
        fields=fields,
        kept=tuple(lowered),
        host=host,
        body=body,
        options=options,
        plain=plain,
        secret=not read.keys().isdisjoint(SECRET),
        upgrade=read.get(b"upgrade"),
        request_id=None if b"x-request-id" in options else first(read, b"x-request-id"),
        user_agent=first(read, b"user-agent"),
        forwarded_for=first(read, b"x-forwarded-for"),
        content_type=first(read, b"content-type"),
        trailers=b"trailers" in list_items(read.get(b"te", [])),
    )


def parse_request(head: bytes, blocks: Blocks | None = None) -> RequestHead:
    """Read a head that ends with its empty line; raises MessageError.

    blocks: what is remembered of the connection that it came by.
    """
    line = REQUEST_LINE.match(head)
    if line is None:
        raise bad_request("the request line breaks RFC 9112 section 3")
    method, target, major, minor = line.groups()
    raw = head[line.end() : -2]
    if (major, minor) != (b"1", b"1"):
        # Header lines that are none go before: who knows what it is then.
        split_fields(raw)
        raise unsupported_version(major, minor)
    check_method(method)
    block = parse_block(raw) if blocks is None else blocks.read(raw)
    path = target if target[:1] == b"/" else origin_form(method, target, block.host)
    upgrade = b""
    if not block.plain:
        upgrade = asked_upgrade(method, block.body, block.options, block.upgrade)
    if block.plain and path is target:
        forward = head[:-2]
    else:
        lines = kept_fields(block.fields, block.options)
        forward = method + b" " + path + b" HTTP/1.1\r\n" + lines
    return RequestHead(
        Request(method, b"http", block.host.lower(), path, block.kept),
        block.body,
        b"close" not in block.options,
        block.secret,
        forward,
        block.request_id,
        block.user_agent,
        block.forwarded_for,
        block.content_type,
        upgrade,
        block.trailers,
    )


def asked_upgrade(
    method: bytes, body: int, options: frozenset[bytes], values: list[bytes] | None
) -> bytes:
    """The protocol that a client asks to go on with, if it is one that we pass on.

    Others are ignored (RFC 9110 section 7.8), ``h2c`` above all: what came after it
    would be requests that nobody here reads.
    """
    if values is None or b"upgrade" not in options or method != b"GET" or body:
        return b""
    return WEBSOCKET if list_items(values) == [WEBSOCKET] else b""


def check_method(method: bytes) -> None:
    """Refuse what no request has a use for; raises MessageError."""
    if method == b"CONNECT":
        raise MessageError(403, "http1.connect_not_supported", "CONNECT is not supported")
    if method == b"PRI":
        # RFC 9113 section 11.4: to an endpoint of HTTP/2 it is the start of a connection.
        raise bad_request("PRI is no method")


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
    if is_chunked(values):
        return CHUNKED
    *others, last = list_items(values) or [b""]
    status = 501 if last == b"chunked" and others and last not in others else 400
    raise MessageError(
        status, "http1.invalid_transfer_encoding", "transfer-encoding other than chunked"
    )


def origin_form(method: bytes, target: bytes, host: bytes) -> bytes:
    """The path of a target in absolute form (RFC 9112 section 3.2); raises MessageError."""
    if target == b"*" and method == b"OPTIONS":
        return target
    parts = ABSOLUTE_FORM.fullmatch(target)
    if parts is None:
        raise MessageError(400, "http1.invalid_url", f"target {target[:80]!r} is no path")
    authority, path, query = parts.groups(b"")
    if authority.lower() != host.lower():
        raise MessageError(400, "http1.invalid_url", "the target's authority is not the Host")
    return (path or b"/") + query
