from __future__ import annotations

import random
from collections import Counter

import pytest

from waypoint.balancing.draws import BELOW_ONE, bits, redrawn, split


@pytest.mark.parametrize(
    ("drawn", "index", "rest"),
    [(0.0, 0, 0.0), (0.05, 0, 0.5), (0.1, 1, 0.0), (0.55, 1, 0.5), (BELOW_ONE, 1, None)],
)
def test_split(drawn: float, index: int, rest: float | None) -> None:
    found, left = split(drawn, [1, 10])
    assert found == index
    assert 0 <= left < 1
    if rest is not None:
        assert left == pytest.approx(rest)


def test_what_is_left_is_uniform() -> None:
    draw = random.Random(1)
    counts: Counter[int] = Counter()
    for _ in range(20000):
        _, rest = split(draw.random(), [3, 4, 97])
        counts[int(rest * 10)] += 1
    assert all(abs(count - 2000) < 250 for count in counts.values())


def test_further_draws_differ() -> None:
    drawn = 0.25
    assert redrawn(drawn, 0) == drawn
    numbers = {redrawn(drawn, attempt) for attempt in range(100)}
    assert len(numbers) == 100
    assert all(0 <= number < 1 for number in numbers)
    assert len({bits(drawn, number) & 7 for number in range(100)}) == 8
