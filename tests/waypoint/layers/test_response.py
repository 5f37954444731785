from __future__ import annotations

import pytest

from waypoint.errors import MessageError
from waypoint.layers.headers import CHUNKED, UNTIL_CLOSE
from waypoint.layers.response import ResponseHead, closing, parse_response


def parse(fields: bytes = b"", line: bytes = b"HTTP/1.1 200 OK") -> ResponseHead:
    return parse_response(line + b"\r\n" + fields + b"\r\n")


def test_a_sound_head_goes_on_byte_for_byte() -> None:
    raw = b"HTTP/1.1 200 All  right\xe9\r\nServer:  x \r\nContent-Length: 5\r\n\r\n"
    assert parse_response(raw) == ResponseHead(200, 5, True, False, raw, True)


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 099 x", b"HTTP/2.0 200 OK",
        b"HTTP/1.1  200 OK", b"HTTP/1.1 200 O\x00K", b"http/1.1 200 OK", b"ICY 200 OK",
        b"HTTP/1.1", b"200 OK", b"", b"HTTP/1.1 200 OK\nX: y", b"HTTP/1.2 200 OK",
    ],
)  # fmt: skip
def test_broken_status_lines(line: bytes) -> None:
    with pytest.raises(MessageError) as caught:
        parse(line=line)
    assert caught.value.status == 502


@pytest.mark.parametrize("line", [b"HTTP/1.1 200", b"HTTP/1.1 200 "])
def test_a_missing_reason_is_no_error(line: bytes) -> None:
    assert parse(line=line).forward == b"HTTP/1.1 200 \r\n\r\n"


@pytest.mark.parametrize(
    ("fields", "line", "body"),
    [
        (b"", b"HTTP/1.1 200 OK", UNTIL_CLOSE),
        (b"Content-Length: 0\r\n", b"HTTP/1.1 200 OK", 0),
        (b"Transfer-Encoding: Chunked\r\n", b"HTTP/1.1 200 OK", CHUNKED),
        (b"", b"HTTP/1.1 204 No", 0),
        (b"", b"HTTP/1.1 304 Not", 0),
        (b"Content-Length: 5\r\n", b"HTTP/1.1 304 Not", 0),
        (b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1 304 Not", 0),
        (b"Content-Length: 5\r\n", b"HTTP/1.1 204 No", 0),
        (b"", b"HTTP/1.1 100 Continue", 0),
    ],
)
def test_how_bodies_end(fields: bytes, line: bytes, body: int) -> None:
    assert parse(fields, line).body == body


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 1\r\nContent-Length: 1\r\n",
        b"Content-Length: x\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked, gzip\r\n",
        b"X : y\r\n",
        b"X: y\r\n z\r\n",
        b"Connection: content-length\r\nContent-Length: 3\r\n",
    ],
)
def test_what_two_readers_might_read_differently(fields: bytes) -> None:
    with pytest.raises(MessageError):
        parse(fields)


def test_an_old_response_has_no_codings_and_no_keep_alive() -> None:
    old = b"HTTP/1.0 200 OK"
    with pytest.raises(MessageError):
        parse(b"Transfer-Encoding: chunked\r\n", old)
    assert not parse(b"Content-Length: 1\r\n", old).keep_alive
    head = parse(b"Content-Length: 1\r\nConnection: Keep-Alive\r\n", old)
    assert head.keep_alive
    assert head.forward == b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"


def test_hop_by_hop_headers_are_dropped() -> None:
    head = parse(b"Connection: X, close\r\nX: 1\r\nKeep-Alive: 5\r\nY: 2\r\nUpgrade: h2c\r\n")
    assert head.forward == b"HTTP/1.1 200 OK\r\nY: 2\r\n\r\n"
    assert (head.keep_alive, head.verbatim) == (False, False)


@pytest.mark.parametrize("line", [b"HTTP/1.1 204 No", b"HTTP/1.1 103 Hints"])
def test_framing_headers_don_t_belong_to_responses_without_a_body(line: bytes) -> None:
    for framing in (b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"):
        assert parse(framing + b"A: b\r\n", line).forward == line + b"\r\nA: b\r\n\r\n"


def test_cookies_make_a_head_secret() -> None:
    assert parse(b"Set-Cookie: a=b\r\n").secret


def test_closing() -> None:
    head = parse(b"A: b\r\n")
    assert closing(head.forward) == b"HTTP/1.1 200 OK\r\nA: b\r\nconnection: close\r\n\r\n"
