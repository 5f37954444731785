"""Where heads end, and the same verdict however their bytes are cut."""

from __future__ import annotations

import pytest

from waypoint.errors import MessageError
from waypoint.layers.headers import HEAD_LIMIT
from waypoint.layers.http1 import find_head, find_response_head
from waypoint.layers.request import parse_request

HEADS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX: y\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\n\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\x00\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 101 + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 101 + b"z\nb\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * HEAD_LIMIT + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\nX: " + b"y" * HEAD_LIMIT + b"\r\n\r\n",
    b"GET /" + b"y" * HEAD_LIMIT + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"G" * (HEAD_LIMIT + 1),
]


def verdict(pieces: list[bytes]) -> object:
    """The parsed head, or the status that it gets; None: more bytes are needed."""
    buffer = bytearray()
    searched = 0
    try:
        for piece in pieces:
            buffer += piece
            length = find_head(buffer, searched)
            if length:
                return parse_request(bytes(buffer[:length]))
            searched = len(buffer)
    except MessageError as error:
        return error.status
    return None


@pytest.mark.parametrize("head", HEADS)
def test_the_verdict_is_the_same_however_a_head_is_cut(head: bytes) -> None:
    whole = verdict([head])
    assert whole is not None
    step = 1 if len(head) < 1000 else 1009
    for place in range(1, len(head), step):
        assert verdict([head[:place], head[place:]]) == whole
    size = 1 if len(head) < 1000 else 513
    pieces = [head[i : i + size] for i in range(0, len(head), size)]
    assert verdict(pieces) == whole


@pytest.mark.parametrize("head", HEADS)
def test_what_follows_a_head_changes_nothing(head: bytes) -> None:
    assert (
        verdict([head + b"\n\x00 body \r\n\r\n"]) == verdict([head]) or len(head) > HEAD_LIMIT
    )


def test_limits() -> None:
    start = b"GET / HTTP/1.1\r\nHost: a\r\nX: "
    fits = start + b"y" * (HEAD_LIMIT - len(start) - 4) + b"\r\n\r\n"
    assert find_head(fits) == HEAD_LIMIT
    assert verdict([fits[:-4] + b"y" + fits[-4:]]) == 431
    assert verdict([b"GET /" + b"y" * HEAD_LIMIT]) == 414


def test_broken_lines_are_seen_before_the_end_of_the_head() -> None:
    for start in (b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\nHost: a\n", b"\x16", b"\x00", b" "):
        assert verdict([start]) == 400
    assert verdict([b"GET / HTTP/1.1\r"]) is None


def test_responses() -> None:
    assert find_response_head(b"HTTP/1.1 200 OK\r\n\r\nbody") == 19
    assert find_response_head(b"HT") == 0
    assert find_response_head(b"HTTP/1.1 200 OK\r\nA:") == 0
    for wrong in (b"SSH-2.0-x\r\n", b"\x15\x03", b"HTTP/1.1 " + b"x" * HEAD_LIMIT):
        with pytest.raises(MessageError) as caught:
            find_response_head(wrong)
        assert caught.value.status == 502
