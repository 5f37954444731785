from __future__ import annotations

import pytest

from waypoint.resilience.breakers import (
    UNBOUNDED,
    Breaker,
    Breakers,
    BreakerSettings,
    Resource,
    Thresholds,
)
from waypoint.resilience.budget import UNLIMITED, RetryBudget

BOUNDS = Thresholds(connections=1, pending=2, requests=3, retries=4)


@pytest.mark.parametrize(
    ("resource", "limit"),
    [(Resource.CONNECTIONS, 1), (Resource.PENDING, 2), (Resource.REQUESTS, 3),
     (Resource.RETRIES, 4)],
)  # fmt: skip
def test_each_has_its_bound(resource: Resource, limit: int) -> None:
    breaker = Breaker(BOUNDS)
    assert [breaker.take(resource) for _ in range(limit + 2)] == [True] * limit + [False] * 2
    assert breaker.overflows[resource] == 2
    breaker.free(resource)
    assert breaker.take(resource)
    others = [r for r in Resource if r is not resource]
    assert all(breaker.counts[other] == 0 and breaker.has_room(other) for other in others)


def test_zero_is_nothing_at_all() -> None:
    assert not Breaker(Thresholds(connections=0)).take(Resource.CONNECTIONS)


def test_without_settings_there_is_no_bound() -> None:
    breaker = Breaker(UNBOUNDED)
    assert {breaker.limit(resource) for resource in Resource} == {UNLIMITED}


@pytest.mark.parametrize(
    ("percent", "minimum", "active", "allowed"),
    [(20, 3, 0, 3), (20, 3, 15, 3), (20, 3, 20, 4), (20, 3, 1000, 200), (0.5, 0, 100, 0),
     (100, 0, 7, 7)],
)  # fmt: skip
def test_budget(percent: float, minimum: int, active: int, allowed: int) -> None:
    assert RetryBudget(percent, minimum).allowed(active) == allowed


def test_a_budget_follows_the_requests() -> None:
    breaker = Breaker(Thresholds(retries=0, budget=RetryBudget(50, 1)))
    assert breaker.take(Resource.RETRIES)
    assert not breaker.take(Resource.RETRIES)
    for _ in range(3):
        breaker.take(Resource.REQUESTS)
    breaker.take(Resource.PENDING)
    assert breaker.take(Resource.RETRIES)
    assert not breaker.take(Resource.RETRIES)


def test_what_remains_is_shown_where_it_is_asked_for() -> None:
    breakers = Breakers(
        BreakerSettings(Thresholds(connections=5, track_remaining=True), BOUNDS)
    )
    breakers.default.take(Resource.CONNECTIONS)
    assert breakers.default.remaining()["connections"] == 4
    assert breakers.high.remaining() == {}
    # Fewer than there are: nothing is left, and nothing is cut off.
    breakers.adjust(BreakerSettings(Thresholds(connections=0, track_remaining=True)))
    assert breakers.default.remaining()["connections"] == 0
    assert breakers.default.counts[Resource.CONNECTIONS] == 1
    assert not breakers.default.take(Resource.CONNECTIONS)
    dump = breakers.dump()["default"]
    assert isinstance(dump, dict)
    assert (dump["active"], dump["overflows"]) == ({"connections": 1}, {"connections": 1})
