from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.waypoint.balancing.hosts import FakeHost, hosts
from waypoint.balance import Balance, Candidate, Rules, balanced
from waypoint.balancing.hashing import hash_bytes
from waypoint.balancing.policies import (
    MaglevPolicy,
    Panic,
    Policy,
    RandomPolicy,
    RingHashPolicy,
    RoundRobinPolicy,
)
from ztunnel_compat.model import Locality

POLICIES = [RoundRobinPolicy(), RandomPolicy(), RingHashPolicy(), MaglevPolicy(1009)]
RULES = Rules()


def shares(balance: Balance[FakeHost], count: int = 10000) -> dict[str, float]:
    draw = random.Random(1)
    picks = (balance.pick(draw.random()) for _ in range(count))
    counts = Counter(host.label.split(":")[0][-1] for host in picks if host)
    return {label: round(number / count, 2) for label, number in counts.items()}


def level(
    priority: int, *states: int, first: int = 1, region: str = ""
) -> list[Candidate[FakeHost]]:
    """Hosts of one priority, 1 for each that is healthy."""
    return [
        Candidate(FakeHost(f"10.0.0.{first + n}:80"), priority, Locality(region), bool(state))
        for n, state in enumerate(states)
    ]


def test_nobody() -> None:
    assert balanced([], RULES).pick(0.5) is None
    nobody = balanced(level(0, 0), Rules(panic=Panic(0)))
    assert (nobody.pick(0.5), nobody.endpoints) == (None, ())


@pytest.mark.parametrize("policy", POLICIES)
def test_what_was_tried_is_left_out(policy: Policy) -> None:
    a, b, c = members = hosts(1, 5, 2)
    balance = balanced([Candidate(h) for h in members], Rules(policy))
    for drawn in (0.0, 0.3, 0.6, 0.9):
        for key in (None, hash_bytes(b"%f" % drawn)):
            assert balance.pick(drawn, (a, c), key) is b
            assert balance.pick(drawn, (a,), key) in {b, c}
            assert balance.pick(drawn, (a, b, c), key) is None


def test_ill_hosts_get_nothing() -> None:
    assert shares(balanced(level(0, 1, 0, 1, 1), RULES)).keys() == {"1", "3", "4"}


def test_in_panic_everybody_counts() -> None:
    assert shares(balanced(level(0, 1, 0, 0, 0), RULES)).keys() == {"1", "2", "3", "4"}
    calm = Rules(panic=Panic(20))
    assert shares(balanced(level(0, 1, 0, 0, 0), calm)) == {"1": 1.0}
    failing = Rules(panic=Panic(50, fail=True))
    assert balanced(level(0, 1, 0, 0, 0), failing).pick(0.5) is None


def test_the_next_priority_takes_what_the_first_cannot() -> None:
    candidates = level(0, 1, 0) + level(1, 1, 1, first=3)
    found = shares(balanced(candidates, RULES))
    assert found["1"] == pytest.approx(0.7, abs=0.02)
    assert found["3"] == pytest.approx(0.15, abs=0.02)
    assert "2" not in found


def test_localities_have_weights() -> None:
    candidates = (
        level(0, 1, 1, region="near")
        + level(0, 1, first=3, region="far")
        + level(0, 1, first=4, region="unsaid")
    )
    rules = Rules(localities={Locality("near"): 80, Locality("far"): 20})
    found = shares(balanced(candidates, rules))
    assert found == {
        "1": pytest.approx(0.4, abs=0.02),
        "2": pytest.approx(0.4, abs=0.02),
        "3": pytest.approx(0.2, abs=0.02),
    }


def test_an_ill_locality_counts_less() -> None:
    candidates = level(0, 1, 0, region="near") + level(0, 1, 1, first=3, region="far")
    rules = Rules(localities={Locality("near"): 50, Locality("far"): 50})
    found = shares(balanced(candidates, rules))
    assert found["1"] == pytest.approx(0.7 / 1.7, abs=0.02)


@pytest.mark.parametrize("policy", [RingHashPolicy(), MaglevPolicy()])
def test_sessions_stay_where_there_are_localities_and_priorities(policy: Policy) -> None:
    candidates = (
        level(0, 1, 1, 0, 0, region="near")
        + level(0, 1, 1, first=5, region="far")
        + level(1, 1, 1, first=7, region="near")
    )
    weights = {Locality("near"): 75, Locality("far"): 25}
    rules = Rules(policy, localities=weights)
    first, second = balanced(candidates, rules), balanced(candidates, rules)
    found: Counter[str] = Counter()
    for number in range(5000):
        key = hash_bytes(b"%d" % number)
        host = first.pick(number / 5000, (), key)
        assert host is second.pick(0.3, (), key)
        found[host.label[-4] if host else ""] += 1
    assert found["7"] + found["8"] == pytest.approx(0.07 * 5000, abs=100)
    near = found["1"] + found["2"]
    far = found["5"] + found["6"]
    assert near / (near + far) == pytest.approx(0.75, abs=0.05)
