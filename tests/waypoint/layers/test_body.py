"""Bodies: chunk framing by llhttp's categories, and the same however bytes are cut."""

from __future__ import annotations

import itertools
import random

import pytest

from waypoint.errors import MessageError
from waypoint.layers.body import (
    EXTENSION_ALLOWANCE,
    SIZE_LINE_LIMIT,
    TRAILER_LIMIT,
    BodyReader,
    body_reader,
)
from waypoint.layers.headers import CHUNKED, UNTIL_CLOSE

Outcome = tuple[bytes, bytes, int] | str


def read(framing: int, pieces: list[bytes]) -> Outcome:
    """What is passed on, what is left over and the payload's size; or an error.

    An unfinished body reports what it has passed on, and that it isn't done.
    """
    reader: BodyReader = body_reader(framing)
    passed = b""
    rest: list[bytes] = []
    try:
        for piece in pieces:
            if reader.done:
                rest.append(piece)
            else:
                passed += reader.feed(piece)
    except MessageError:
        return "error"
    if not reader.done:
        return f"open {passed!r} {reader.data}"
    return passed, reader.rest + b"".join(rest), reader.data


GOOD = [
    (b"0\r\n\r\n", 0),
    (b"5\r\nhello\r\n0\r\n\r\n", 5),
    (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", 11),
    (b"A\r\n0123456789\r\n0\r\n\r\n", 10),
    (b"a\r\n0123456789\r\n000\r\n\r\n", 10),
    (b"0000000000000002\r\nhi\r\n0\r\n\r\n", 2),
    (b"2;a\r\nhi\r\n0;b=c\r\n\r\n", 2),
    (b'2;a="q\\"\\\\ ;\t";b;c=d\r\nhi\r\n0\r\n\r\n', 2),
    (b"2\r\n\r\n\r\n0\r\n\r\n", 2),
    (b"2\r\nhi\r\n0\r\nTrailer: x\r\nT2:\r\n\r\n", 2),
]

BAD = [
    b"\r\n",
    b"g\r\n",
    b"-1\r\n",
    b"+1\r\nh\r\n0\r\n\r\n",
    b"0x2\r\nhi\r\n0\r\n\r\n",
    b"1_0\r\n",
    b" 2\r\nhi\r\n0\r\n\r\n",
    b"2 \r\nhi\r\n0\r\n\r\n",
    b"2\nhi\r\n0\r\n\r\n",
    b"2\r\nhi\n0\r\n\r\n",
    b"2\r\nhi0\r\n\r\n",
    b"2\r\nhix\r\n0\r\n\r\n",
    b"2\r\nhi\rx0\r\n\r\n",
    b"2\rhi\r\n0\r\n\r\n",
    b"2;\r\nhi\r\n0\r\n\r\n",
    b"2;a=\r\nhi\r\n0\r\n\r\n",
    b"2; a\r\nhi\r\n0\r\n\r\n",
    b"2 ;a\r\nhi\r\n0\r\n\r\n",
    b"2;a=b c\r\nhi\r\n0\r\n\r\n",
    b"2;a\nb\r\nhi\r\n0\r\n\r\n",
    b'2;a="x\r\n"\r\nhi\r\n0\r\n\r\n',
    b"2;a\x00\r\nhi\r\n0\r\n\r\n",
    b"2,3\r\nhi\r\n",
    b"10000000000000000\r\n",
    b"ffffffffffffffff\r\n",
    b"7fffffffffffffff\r\n",
    b"0\r\nX\r\n\r\n",
    b"0\r\nX : y\r\n\r\n",
    b"0\r\nX: y\n\r\n\r\n",
    b"0\r\n X: y\r\n\r\n",
    b"0\r\n\rx\r\n\r\n",
    b"0\r\nContent-Length: 5\r\n\r\n",
    b"0\r\ntransfer-encoding: chunked\r\n\r\n",
    b"0\r\nHost: x\r\n\r\n",
    b"0\r\n" + b"a: b\r\n" * 101 + b"\r\n",
    b"2;" + b"a" * SIZE_LINE_LIMIT + b"\r\nhi\r\n",
    b"0\r\nX: " + b"y" * TRAILER_LIMIT + b"\r\n\r\n",
]

#: One byte, all at once, and everything in between at random.
CUTS = 40


def cuts(data: bytes) -> list[list[bytes]]:
    """Ways to cut data: whole, in two at every place, byte by byte, at random."""
    ways = [[data], [data[i : i + 1] for i in range(len(data))]]
    places = range(1, len(data)) if len(data) < 200 else range(1, len(data), 97)
    ways += [[data[:i], data[i:]] for i in places]
    draw = random.Random(len(data))
    for _ in range(CUTS):
        marks = sorted(draw.sample(range(len(data) + 1), min(4, len(data))))
        bounds = itertools.pairwise([0, *marks, len(data)])
        ways.append([data[low:high] for low, high in bounds if low < high])
    return ways


@pytest.mark.parametrize(("body", "size"), GOOD)
def test_a_chunked_body_goes_on_as_it_came(body: bytes, size: int) -> None:
    for pieces in cuts(body + b"GET /next"):
        assert read(CHUNKED, pieces) == (body, b"GET /next", size)


@pytest.mark.parametrize("body", BAD)
def test_broken_chunks_are_refused_however_they_are_cut(body: bytes) -> None:
    for pieces in cuts(body):
        assert read(CHUNKED, pieces) == "error", pieces


@pytest.mark.parametrize("body", [good for good, _ in GOOD])
def test_unfinished_bodies_are_not_done(body: bytes) -> None:
    for end in range(len(body)):
        outcome = read(CHUNKED, [body[:end]])
        assert isinstance(outcome, str)
        assert outcome.startswith("open")


@pytest.mark.parametrize("line", [b"g\r\n", b"0x2\r\n", b"2 \r\n", b"2;\r\n", b"2\n", b"-1"])
def test_nothing_of_a_broken_line_is_passed_on(line: bytes) -> None:
    reader = body_reader(CHUNKED)
    passed = reader.feed(b"3\r\nabc\r\n")
    for position in range(len(line)):
        try:
            passed += reader.feed(line[position : position + 1])
        except MessageError:
            break
    else:
        pytest.fail("not refused")
    assert passed == b"3\r\nabc\r\n"


def test_extensions_may_not_outweigh_the_data() -> None:
    line = b"1;" + b"e" * 900 + b"\r\nx\r\n"
    many = EXTENSION_ALLOWANCE // 900 + 2
    assert read(CHUNKED, [line * many]) == "error"
    data = b"1000;" + b"e" * 900 + b"\r\n" + b"x" * 4096 + b"\r\n"
    outcome = read(CHUNKED, [data * many + b"0\r\n\r\n"])
    assert isinstance(outcome, tuple)


def test_large_chunks_pass_in_pieces() -> None:
    reader = body_reader(CHUNKED)
    assert reader.feed(b"100000\r\n") == b"100000\r\n"
    for _ in range(16):
        assert len(reader.feed(b"x" * 65536)) == 65536
    assert reader.data == 1 << 20
    assert reader.feed(b"\r\n0\r\n\r\n") == b"\r\n0\r\n\r\n"
    assert reader.done


@pytest.mark.parametrize("length", [0, 1, 5, 8])
def test_a_length_is_counted(length: int) -> None:
    data = b"abcdefgh"
    for pieces in cuts(data):
        assert read(length, pieces) == (data[:length], data[length:], length)
    assert read(9, [data]) == f"open {data!r} 8"


def test_until_close_takes_everything() -> None:
    assert read(UNTIL_CLOSE, [b"a", b"bc"]) == "open b'abc' 3"
