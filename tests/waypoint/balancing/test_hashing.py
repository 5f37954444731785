from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from tests.waypoint.balancing.hosts import FakeHost, hosts, shares
from waypoint.balancing.hashing import hash_bytes
from waypoint.balancing.host import Balancer
from waypoint.balancing.maglev import fill
from waypoint.balancing.maglev import maglev as maglev_table
from waypoint.balancing.policies import MaglevPolicy, RingHashPolicy
from waypoint.balancing.ring_hash import ring_hash
from waypoint.balancing.slices import at_once

Build = Callable[[Sequence[tuple[FakeHost, float]]], Balancer[FakeHost]]


def ring(pairs: Sequence[tuple[FakeHost, float]]) -> Balancer[FakeHost]:
    return at_once(ring_hash(pairs, RingHashPolicy(minimum=8192)))


def maglev(pairs: Sequence[tuple[FakeHost, float]]) -> Balancer[FakeHost]:
    return at_once(maglev_table(pairs, MaglevPolicy()))


BOTH = pytest.mark.parametrize("build", [ring, maglev])
KEYS = [hash_bytes(b"session-%d" % number) for number in range(20000)]


@BOTH
def test_a_session_keeps_its_host(build: Build) -> None:
    members = hosts(1, 1, 1)
    first, second = build(shares(members)), build(shares(members))
    for key in KEYS[:200]:
        assert first.pick(0.1, key) is first.pick(0.9, key) is second.pick(0.5, key)


@BOTH
def test_weights_are_shares(build: Build) -> None:
    members = hosts(1, 2, 3, 4)
    balancer = build(shares(members))
    counts = Counter(balancer.pick(0, key) for key in KEYS)
    assert all(abs(counts[h] / len(KEYS) - h.weight / 10) < 0.03 for h in members)


@BOTH
def test_who_hashes_nothing_is_spread(build: Build) -> None:
    members = hosts(1, 1, 1, 1)
    balancer = build(shares(members))
    draw = random.Random(4)
    counts = Counter(balancer.pick(draw.random()) for _ in range(20000))
    assert all(abs(counts[h] / 20000 - 0.25) < 0.03 for h in members)


@BOTH
def test_a_host_that_leaves_moves_little_else(build: Build) -> None:
    members = hosts(*[1] * 10)
    before, after = build(shares(members)), build(shares(members[1:]))
    moved = [
        key
        for key in KEYS
        if before.pick(0, key) is not members[0]
        and after.pick(0, key) is not before.pick(0, key)
    ]
    # The ring gives those that stay more places; a modulus would move nine of ten.
    assert len(moved) <= (0.1 if build is ring else 0.05) * len(KEYS)
    own = [key for key in KEYS if before.pick(0, key) is members[0]]
    heirs = Counter(after.pick(0, key) for key in own)
    assert len(heirs) == 9


@BOTH
def test_a_host_that_comes_takes_its_share(build: Build) -> None:
    members = hosts(*[1] * 10)
    before, after = build(shares(members[:9])), build(shares(members))
    changed = [key for key in KEYS if before.pick(0, key) is not after.pick(0, key)]
    assert 0.06 < len(changed) / len(KEYS) < 0.2


@BOTH
def test_attempts_lead_elsewhere(build: Build) -> None:
    members = hosts(*[1] * 5)
    balancer = build(shares(members))
    for key in KEYS[:50]:
        assert len({balancer.pick(0, key, n).label for n in range(40)}) == 5


@pytest.mark.parametrize(
    ("weights", "minimum", "maximum", "counts"),
    [
        ((1, 1, 1), 1024, 8 << 20, [342, 342, 342]),
        ((1, 2), 1024, 8 << 20, [342, 684]),
        ((1, 1), 1, 8 << 20, [1, 1]),
        ((1, 99), 1, 8 << 20, [1, 99]),
        ((1, 99), 1, 10, [1, 9]),
    ],
)
def test_ring_size(
    weights: tuple[int, ...], minimum: int, maximum: int, counts: list[int]
) -> None:
    members = hosts(*weights)
    made = at_once(ring_hash(shares(members), RingHashPolicy(minimum, maximum)))
    assert [Counter(made.at)[host] for host in members] == counts
    assert made.places == sorted(made.places)


def walked(pairs: Sequence[tuple[FakeHost, float]], size: int) -> list[FakeHost]:
    """Maglev as it is described, without a shortcut."""
    heaviest = max(share for _, share in pairs)
    table: list[FakeHost | None] = [None] * size
    reached = [0] * len(pairs)
    target = [0.0] * len(pairs)
    turn = filled = 0
    while filled < size:
        turn += 1
        for n, (host, share) in enumerate(pairs):
            if turn * share < target[n] or filled == size:
                continue
            target[n] += heaviest
            offset = hash_bytes(host.label.encode()) % size
            skip = hash_bytes(host.label.encode(), 1) % (size - 1) + 1
            while table[(offset + skip * reached[n]) % size] is not None:
                reached[n] += 1
            table[(offset + skip * reached[n]) % size] = host
            filled += 1
    return [host for host in table if host is not None]


@pytest.mark.parametrize("size", [7, 251, 257, 1009, 5003])
@pytest.mark.parametrize("weights", [(1,), (1, 1, 1), (5, 3, 1, 1), tuple(range(1, 30))])
def test_the_shortcut_fills_the_same_table(size: int, weights: tuple[int, ...]) -> None:
    pairs = shares(hosts(*weights))
    assert at_once(fill(pairs, size)) == walked(pairs, size)
