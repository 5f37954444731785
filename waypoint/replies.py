"""Answers that the waypoint gives itself."""

from __future__ import annotations

from http import HTTPStatus

#: What clients are told when no endpoint could answer, in Envoy's words.
NO_ROUTE = b"no route matches this request\n"
NO_CLUSTER = b"the route's cluster is not known\n"
NO_ENDPOINT = b"no healthy upstream"
CONNECT_FAILED = (
    b"upstream connect error or disconnect/reset before headers. "
    b"reset reason: connection failure"
)
TERMINATED = (
    b"upstream connect error or disconnect/reset before headers. "
    b"reset reason: connection termination"
)
BAD_RESPONSE = (
    b"upstream connect error or disconnect/reset before headers. reset reason: protocol error"
)
TIMED_OUT = b"upstream request timeout"


def local_reply(
    status: int, body: bytes, *, close: bool = True, with_body: bool = True
) -> tuple[bytes, int]:
    """A whole response in plain text, and how many bytes its body has.

    close: tell the client that the connection ends; with_body False: for HEAD.
    """
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    head = f"HTTP/1.1 {status} {phrase}\r\n"
    if status not in {204, 304}:
        head += f"content-length: {len(body)}\r\n"
    if body:
        head += "content-type: text/plain\r\n"
    if close:
        head += "connection: close\r\n"
    sent = body if with_body and status not in {204, 304} else b""
    return head.encode() + b"\r\n" + sent, len(sent)
