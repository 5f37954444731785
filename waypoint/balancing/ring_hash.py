"""Ring hash: a host's places on a ring, and a request's, as Envoy sets them.

A host that comes or goes moves little beside what is its own.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Generic

from waypoint.balancing.draws import bits
from waypoint.balancing.hashing import hash_bytes, murmur
from waypoint.balancing.host import H
from waypoint.balancing.policies import RingHashPolicy
from waypoint.balancing.slices import Slices

#: Places that are made in one go.
SLICE = 1024
#: Of a host's index.
BITS = 24
INDEX = (1 << BITS) - 1


class RingHash(Generic[H]):
    """The ring: places in order, and the host at each."""

    __slots__ = ("at", "places")

    def __init__(self, places: list[int], at: list[H]) -> None:
        self.places = places
        self.at = at

    def pick(self, drawn: float, hash_key: int | None = None, attempt: int = 0) -> H:
        """The host at the first place from the hash on; each attempt, one place on."""
        if hash_key is None:
            hash_key = bits(drawn)
        return self.at[(bisect_left(self.places, hash_key) + attempt) % len(self.at)]


def ring_hash(shares: Sequence[tuple[H, float]], policy: RingHashPolicy) -> Slices[RingHash[H]]:
    """A ring. The hosts' order decides about places that shares don't divide evenly."""
    function = murmur if policy.murmur else hash_bytes
    ordered = sorted(shares, key=lambda pair: pair[0].label)
    total = sum(share for _, share in ordered)
    least = min(share for _, share in ordered) / total
    # So many places that the lightest host has a whole number of them.
    scale = min(math.ceil(least * policy.minimum) / least, float(policy.maximum))
    # A place and a host's index as one number: no tuples, which the garbage collector
    # would walk.
    runs: list[list[int]] = []
    run: list[int] = []
    count = 0
    target = 0.0
    for index, (host, share) in enumerate(ordered):
        target += scale * (share / total)
        key = host.label.encode()
        number = 0
        while count < target:
            run.append(function(b"%b_%d" % (key, number)) << BITS | index)
            count += 1
            number += 1
            if len(run) == SLICE:
                run.sort()
                runs.append(run)
                run = []
                yield
    run.sort()
    places: list[int] = []
    at: list[H] = []
    for both in heapq.merge(*runs, run):
        places.append(both >> BITS)
        at.append(ordered[both & INDEX][0])
        if not len(places) % SLICE:
            yield
    return RingHash(places, at)
