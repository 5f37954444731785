from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

from tests.waypoint.balancing.hosts import FakeHost, hosts
from waypoint.balancing.edf import Schedule
from waypoint.balancing.round_robin import RoundRobin
from waypoint.balancing.slow_start import Ramp, SlowStart


def test_equal_weights_take_turns() -> None:
    members = hosts(2, 2, 2)
    robin = RoundRobin(members, start=0.4)
    a, b, c = members
    assert [robin.pick(0.9) for _ in range(4)] == [b, c, a, b]


def test_weights_are_honoured_in_every_turn() -> None:
    a, b, c = members = hosts(1, 3, 2)
    robin = RoundRobin(members)
    assert [robin.pick(0) for _ in range(6)] == [b, c, b, a, c, b]


def test_any_start_and_any_weights_give_exact_shares() -> None:
    draw = random.Random(7)
    for _ in range(50):
        weights = [draw.randint(1, 40) for _ in range(draw.randint(2, 9))]
        members = hosts(*weights)
        robin = RoundRobin(members, draw.random())
        turns = 20
        counts = Counter(robin.pick(0) for _ in range(turns * sum(weights)))
        assert all(abs(counts[h] - turns * h.weight) <= 1 for h in members)


def test_starts_differ() -> None:
    firsts = {
        RoundRobin(members, start / 20).pick(0).label
        for start in range(20)
        for members in [hosts(1, 2, 3)]
    }
    assert len(firsts) == 3


def test_no_host_waits_longer_than_its_weight_says() -> None:
    members = hosts(1, 5, 10)
    robin = RoundRobin(members, 0.3)
    picks = [robin.pick(0) for _ in range(1600)]
    at = [n for n, host in enumerate(picks) if host is members[0]]
    assert max(b - a for a, b in pairwise(at)) <= 17


def test_a_weight_is_asked_for_at_each_choice() -> None:
    weights = {"a": 1.0, "b": 1.0}
    schedule = Schedule(["a", "b"], lambda entry: weights[entry])
    assert [schedule.next() for _ in range(4)] == ["a", "b", "a", "b"]
    weights["a"] = 4.0
    assert Counter(schedule.next() for _ in range(50))["a"] in range(38, 42)


def test_a_new_host_gets_its_share_little_by_little() -> None:
    clock = [100.0]
    old, new = FakeHost("old"), FakeHost("new", since=100.0)
    ramp = Ramp(SlowStart(window=10, floor=10), lambda: clock[0])
    for age, share in ((0.0, 1 / 11), (5.0, 1 / 3), (9.0, 9 / 19), (10.0, 1 / 2)):
        clock[0] = 100 + age
        robin = RoundRobin([old, new], 0.0, ramp)
        counts = Counter(robin.pick(0) for _ in range(1000))
        assert abs(counts[new] - 1000 * share) <= 2
