from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.waypoint.balancing.hosts import hosts
from waypoint.balancing.least_request import LeastRequest
from waypoint.balancing.policies import LeastRequestPolicy


def test_the_less_busy_of_two() -> None:
    a, b = members = hosts(1, 1)
    least = LeastRequest(members)
    # Halves say the first, their halves the second choice.
    assert [least.pick(d) for d in (0.0, 0.25, 0.5, 0.75)] == [a, a, b, b]
    b.active = 1
    assert [least.pick(d) for d in (0.0, 0.25, 0.5, 0.75)] == [a, a, a, b]


def test_idle_hosts_are_chosen_alike() -> None:
    members = hosts(*[1] * 7)
    least = LeastRequest(members)
    draw = random.Random(3)
    counts = Counter(least.pick(draw.random()) for _ in range(14000))
    assert all(abs(counts[h] - 2000) < 200 for h in members)


def test_load_evens_out_better_than_by_chance() -> None:
    draw = random.Random(5)
    members = hosts(*[1] * 50)
    least = LeastRequest(members)
    for _ in range(5000):
        least.pick(draw.random()).active += 1
    assert max(h.active for h in members) - 100 <= 4
    assert 100 - min(h.active for h in members) <= 8


def test_a_busy_host_is_rarely_chosen() -> None:
    members = hosts(*[1] * 10)
    members[0].active = 1000
    draw = random.Random(2)
    least = LeastRequest(members)
    counts = Counter(least.pick(draw.random()) for _ in range(10000))
    # Only where it is drawn twice.
    assert abs(counts[members[0]] - 100) < 50


@pytest.mark.parametrize("choices", [3, 10])
def test_more_choices(choices: int) -> None:
    members = hosts(*[1] * 10)
    for number, host in enumerate(members):
        host.active = number
    draw = random.Random(2)
    least = LeastRequest(members, policy=LeastRequestPolicy(choices))
    counts = Counter(least.pick(draw.random()) for _ in range(10000))
    assert abs(counts[members[0]] - 10000 * (1 - 0.9**choices)) < 300


def test_full_scan_takes_the_least_busy_of_all() -> None:
    members = hosts(*[1] * 20)
    for host in members[2:]:
        host.active = 1
    least = LeastRequest(members, policy=LeastRequestPolicy(full_scan=True))
    draw = random.Random(1)
    counts = Counter(least.pick(draw.random()) for _ in range(1000))
    assert set(counts) == set(members[:2])
    assert abs(counts[members[0]] - 500) < 80


@pytest.mark.parametrize(
    ("bias", "active", "share"),
    [(1.0, 0, 3 / 4), (1.0, 2, 1 / 2), (0.0, 2, 3 / 4), (2.0, 2, 1 / 4)],
)
def test_weights_count_with_activity(bias: float, active: int, share: float) -> None:
    members = hosts(3, 1)
    members[0].active = active
    least = LeastRequest(members, policy=LeastRequestPolicy(active_request_bias=bias))
    counts = Counter(least.pick(0.5) for _ in range(1200))
    assert abs(counts[members[0]] / 1200 - share) < 0.01


def test_attempts_draw_anew() -> None:
    members = hosts(*[1] * 8)
    least = LeastRequest(members)
    assert len({least.pick(0.3, attempt=n).label for n in range(30)}) == 8
