"""Ring hash: a host's places on a ring, and a request's, as Envoy sets them.

A host that comes or goes moves little beside what is its own.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Generic

from waypoint.balancing.draws import bits
from waypoint.balancing.hashing import hash_bytes
from waypoint.balancing.host import H
from waypoint.balancing.policies import RingHashPolicy


class RingHash(Generic[H]):
    """The ring: places in order, and the host at each."""

    __slots__ = ("at", "places")

    def __init__(self, shares: Sequence[tuple[H, float]], policy: RingHashPolicy) -> None:
        total = sum(share for _, share in shares)
        least = min(share for _, share in shares) / total
        # So many places that the lightest host has a whole number of them.
        scale = min(math.ceil(least * policy.minimum) / least, float(policy.maximum))
        ring: list[tuple[int, int]] = []
        target = 0.0
        for index, (host, share) in enumerate(shares):
            target += scale * (share / total)
            key = host.label.encode()
            number = 0
            while len(ring) < target:
                ring.append((hash_bytes(b"%b_%d" % (key, number)), index))
                number += 1
        ring.sort()
        self.places = [place for place, _ in ring]
        self.at = [shares[index][0] for _, index in ring]

    def pick(self, drawn: float, hash_key: int | None = None, attempt: int = 0) -> H:
        """The host at the first place from the hash on; each attempt, one place on."""
        if hash_key is None:
            hash_key = bits(drawn)
        return self.at[(bisect_left(self.places, hash_key) + attempt) % len(self.at)]
