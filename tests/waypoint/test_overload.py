from __future__ import annotations

import pytest

from waypoint.overload import Level, level_of

CALM, TIGHT, FULL = Level.CALM, Level.TIGHT, Level.FULL


@pytest.mark.parametrize(
    ("before", "memory", "crowd", "after"),
    [
        (CALM, 0.0, 0.0, CALM),
        (CALM, 0.84, 0.84, CALM),
        (CALM, 0.85, 0.0, TIGHT),
        (CALM, 0.0, 0.85, TIGHT),
        (CALM, 0.95, 0.0, FULL),
        (CALM, 0.0, 1.0, TIGHT),
        (TIGHT, 0.8, 0.0, TIGHT),
        (TIGHT, 0.0, 0.8, TIGHT),
        (TIGHT, 0.79, 0.79, CALM),
        (TIGHT, 0.94, 0.0, TIGHT),
        (TIGHT, 0.95, 0.0, FULL),
        (FULL, 0.9, 0.0, FULL),
        (FULL, 0.89, 0.0, TIGHT),
        (FULL, 0.79, 0.0, CALM),
        (FULL, 0.79, 0.99, TIGHT),
    ],
)
def test_levels_begin_and_end_apart(
    before: Level, memory: float, crowd: float, after: Level
) -> None:
    assert level_of(before, memory, crowd) is after
