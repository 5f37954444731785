"""One random number, used for several choices."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

BELOW_ONE = 1 - 2**-53
MASK = (1 << 64) - 1


def split(drawn: float, bounds: Sequence[float]) -> tuple[int, float]:
    """An index by running totals, and a number from [0, 1) for the next choice.

    What is left within the chosen share is again uniform; 53 bits suffice for a
    priority, a locality and two hosts of thousands each.
    """
    place = drawn * bounds[-1]
    index = min(bisect_right(bounds, place), len(bounds) - 1)
    low = bounds[index - 1] if index else 0.0
    return index, min((place - low) / (bounds[index] - low), BELOW_ONE)


def bits(drawn: float, number: int = 0) -> int:
    """64 bits from a number drawn, for each number others (SplitMix64)."""
    mixed = (int(drawn * (1 << 53)) + (number + 1) * 0x9E3779B97F4A7C15) & MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
    return mixed ^ (mixed >> 31)


def redrawn(drawn: float, attempt: int) -> float:
    """The number drawn itself, and for each further attempt another."""
    return drawn if attempt == 0 else (bits(drawn, attempt) >> 11) * 2**-53
