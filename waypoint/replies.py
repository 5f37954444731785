"""Answers that the waypoint gives itself, and why it must."""

from __future__ import annotations

from typing import NamedTuple

from waypoint.layers.headers import Field
from waypoint.layers.render import phrase

#: What clients are told when no endpoint could answer, in Envoy's words.
NO_ROUTE = b"no route matches this request\n"
NO_CLUSTER = b"the route's cluster is not known\n"
NO_ENDPOINT = b"no healthy upstream"
BEFORE_HEADERS = b"upstream connect error or disconnect/reset before headers. reset reason: "
CONNECT_FAILED = BEFORE_HEADERS + b"connection failure"
OVERFLOW = BEFORE_HEADERS + b"overflow"
TIMED_OUT = b"upstream request timeout"
STALLED = b"stream timeout"
OVERLOADED = b"envoy overloaded"
NO_UPGRADE = BEFORE_HEADERS + b"the endpoint takes no upgrades"

#: gRPC's statuses for HTTP's (Envoy's httpToGrpcStatus).
GRPC_STATUS = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
UNKNOWN = 2
DEADLINE_EXCEEDED = 4
#: What grpc-message may hold as it is.
PLAIN = frozenset(range(0x20, 0x7F)) - {0x25}


class Failure(NamedTuple):
    """How an endpoint failed a request: the log's flag and word, the client's status."""

    flags: str
    word: str
    status: int
    body: bytes


TERMINATED = Failure(
    "UC", "connection_termination", 503, BEFORE_HEADERS + b"connection termination"
)
BROKEN = Failure("UPE", "protocol_error", 502, BEFORE_HEADERS + b"protocol error")
RESET = Failure("UR", "remote_reset", 503, BEFORE_HEADERS + b"remote reset")
REFUSED = Failure(
    "UR", "remote_refused_stream_reset", 503, BEFORE_HEADERS + b"remote refused stream reset"
)


class Answer(NamedTuple):
    """A whole response in plain text, or in gRPC's way; fields: without content-length."""

    status: int
    fields: tuple[Field, ...]
    body: bytes
    grpc_status: bytes | None = None


def plain_answer(status: int, body: bytes) -> Answer:
    """An answer in plain text."""
    return Answer(status, ((b"content-type", b"text/plain"),) if body else (), body)


def grpc_answer(status: int, body: bytes, code: int | None = None) -> Answer:
    """The same for a gRPC caller: the status in a head that ends the response.

    code: gRPC's own; None: the one that stands for the HTTP status.
    """
    number = b"%d" % (GRPC_STATUS.get(status, UNKNOWN) if code is None else code)
    fields = [(b"content-type", b"application/grpc"), (b"grpc-status", number)]
    if body:
        fields.append((b"grpc-message", percent_encoded(body.rstrip(b"\n"))))
    return Answer(200, tuple(fields), b"", number)


def percent_encoded(message: bytes) -> bytes:
    """A text as grpc-message holds it."""
    return b"".join(b"%c" % c if c in PLAIN else b"%%%02X" % c for c in message)


def local_reply(
    answer: Answer, *, close: bool = True, with_body: bool = True
) -> tuple[bytes, int]:
    """An answer in HTTP/1.1, and how many bytes its body has.

    close: tell the client that the connection ends; with_body False: for HEAD.
    """
    status = answer.status
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, phrase(status))]
    bodiless = status in {204, 304}
    if not bodiless:
        lines.append(b"content-length: %d\r\n" % len(answer.body))
    lines += [name + b": " + value + b"\r\n" for name, value in answer.fields]
    if close:
        lines.append(b"connection: close\r\n")
    sent = answer.body if with_body and not bodiless else b""
    return b"".join(lines) + b"\r\n" + sent, len(sent)
