"""How many bytes go at a time."""

from __future__ import annotations

import random

import pytest

from waypoint.filters.fault.pace import Waiting, portion


@pytest.mark.parametrize(("rate", "size"), [(1024, 51), (20, 1), (1, 1), (1024 * 1024, 52428)])
def test_a_portion_is_a_twentieth_of_a_second_s(rate: int, size: int) -> None:
    assert portion(rate) == size


def test_bytes_leave_in_their_order_and_none_is_lost() -> None:
    draw = random.Random(7)
    for _ in range(300):
        waiting, sent, got = Waiting(), b"", b""
        for _ in range(draw.randrange(30)):
            if draw.random() < 0.5:
                piece = draw.randbytes(draw.randrange(20))
                waiting.add(piece)
                sent += piece
            else:
                most = draw.randrange(30)
                taken = waiting.take(most)
                assert len(taken) == min(most, len(sent) - len(got))
                got += taken
            assert waiting.length == len(sent) - len(got)
        assert got + waiting.take(len(sent)) == sent
