from __future__ import annotations

import random
from fractions import Fraction

import pytest

from daemon.alias import ALWAYS, alias_table


def chances(table: list[tuple[int, int]]) -> list[Fraction]:
    """How often the kernel takes each, as balance.h draws."""
    found = [Fraction(0)] * len(table)
    for index, (keep, alias) in enumerate(table):
        kept = Fraction(1) if keep == ALWAYS else Fraction(keep, 1 << 32)
        found[index] += kept / len(table)
        found[alias] += (1 - kept) / len(table)
    return found


@pytest.mark.parametrize(
    "weights",
    [
        [1],
        [1, 1, 1],
        [1, 3],
        [3, 1],
        [1, 2, 3, 4, 5],
        [1, 0xFFFFFFFF],
        [0xFFFFFFFF] * 3 + [1],
        [100] * 50 + [1] * 50,
        *([random.Random(n).randint(1, 1 << n) for _ in range(97)] for n in range(1, 33, 5)),
    ],
    ids=str,
)
def test_chances_are_those_of_the_weights(weights: list[int]) -> None:
    table = alias_table(weights)
    assert len(table) == len(weights)
    assert all(0 <= keep <= ALWAYS and 0 <= alias < len(weights) for keep, alias in table)
    total = sum(weights)
    for found, weight in zip(chances(table), weights, strict=True):
        assert abs(found - Fraction(weight, total)) <= Fraction(1, 1 << 32)


def test_equal_weights_are_always_kept() -> None:
    assert alias_table([7, 7, 7]) == [(ALWAYS, 0)] * 3
