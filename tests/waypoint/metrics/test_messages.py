from __future__ import annotations

import random
import struct

import pytest

from waypoint.metrics.messages import Messages


def message(size: int, *, compressed: bool = False) -> bytes:
    return struct.pack(">BI", compressed, size) + b"\xff" * size


def counted(*pieces: bytes) -> int:
    made = Messages()
    for piece in pieces:
        made.feed(piece)
    return made.count


def test_messages_are_counted_however_they_are_cut() -> None:
    draws = random.Random(3)
    for _ in range(300):
        sizes = [draws.choice((0, 1, 4, 5, 6, 300, 70_000)) for _ in range(draws.randrange(9))]
        body = b"".join(message(size, compressed=bool(size % 2)) for size in sizes)
        cuts = sorted(draws.randrange(len(body) + 1) for _ in range(draws.randrange(20)))
        ends = [*cuts, len(body)]
        pieces = [body[a:b] for a, b in zip([0, *cuts], ends, strict=True)]
        assert counted(*pieces) == len(sizes)
        assert counted(*map(memoryview, pieces)) == len(sizes)  # type: ignore[arg-type]


def test_byte_by_byte() -> None:
    body = message(0) + message(7) + message(0, compressed=True)
    assert counted(*(body[n : n + 1] for n in range(len(body)))) == 3


@pytest.mark.parametrize(
    ("body", "count"), [(b"", 0), (b"\0\0\0\0", 0), (b"\0\0\0\0\5", 1), (b"\0\0\0\0\5abc", 1)]
)
def test_a_message_counts_once_its_prefix_is_there(body: bytes, count: int) -> None:
    assert counted(body) == count


def test_no_more_than_a_prefix_is_kept() -> None:
    made = Messages()
    made.feed(message(10) + b"\0" * 4)
    assert made.rest == b"\0" * 4
    made.feed(b"\xff" * 1_000_000)
    assert (made.count, made.rest) == (3, b"")
    assert made.left > 1 << 31
