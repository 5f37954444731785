from __future__ import annotations

import pytest

from tests.waypoint.balancing.hosts import FakeHost
from waypoint.balancing.slow_start import STEADY, Ramp, SlowStart


@pytest.mark.parametrize(
    ("aggression", "floor", "age", "factor"),
    [
        (1.0, 10, 0.0, 0.1),
        (1.0, 0, 0.0, 0.001 / 60),
        (1.0, 10, 30.0, 0.5),
        (2.0, 10, 15.0, 0.5),
        (0.5, 10, 30.0, 0.25),
        (1.0, 30, 12.0, 0.3),
        (1.0, 10, 60.0, 1.0),
        (1.0, 10, 1000.0, 1.0),
    ],
)
def test_factor(aggression: float, floor: float, age: float, factor: float) -> None:
    assert SlowStart(60, aggression, floor).factor(age) == pytest.approx(factor)


def test_who_has_no_age_has_its_whole_weight() -> None:
    ramp = Ramp(SlowStart(60), lambda: 0.0)
    assert ramp.factor(FakeHost("a")) == 1
    assert ramp.any_slow([FakeHost("a"), FakeHost("b", since=-59.0)])
    assert not ramp.any_slow([FakeHost("a"), FakeHost("b", since=-60.0)])
    assert STEADY.factor(FakeHost("a", since=0.0)) == 1
