"""Maglev: a table in which each host has its share of slots, as Envoy fills it.

Hosts take turns to claim the next free slot of a permutation of their own. Choosing
is one look-up; a host that comes or goes moves little beside what is its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic

from waypoint.balancing.draws import MASK, bits
from waypoint.balancing.hashing import hash_bytes
from waypoint.balancing.host import H
from waypoint.balancing.policies import MaglevPolicy
from waypoint.balancing.slices import Slices

#: With fewer free slots than this, a host's next one is found among them, not by
#: walking its permutation past all that are taken: half the time of building.
FEW = 256
#: Slots that are given in one go.
SLICE = 256


class Claim(Generic[H]):
    """A host's permutation of the slots, and how far it has gone through it."""

    __slots__ = ("host", "offset", "position", "skip", "step", "target", "weight")

    def __init__(self, host: H, weight: float, size: int) -> None:
        key = host.label.encode()
        self.host = host
        self.weight = weight
        self.target = 0.0
        self.offset = hash_bytes(key) % size
        self.skip = hash_bytes(key, 1) % (size - 1) + 1
        self.position = self.offset
        # size is a prime: each step has an inverse.
        self.step = pow(self.skip, -1, size)

    def walk(self, table: list[H | None], size: int) -> int:
        """The next free slot, by going on from here."""
        position, skip = self.position, self.skip
        while table[position] is not None:
            position += skip
            if position >= size:
                position -= size
        self.position = position
        return position

    def search(self, free: set[int], size: int) -> int:
        """The same slot, found among the few that are free."""
        offset, step = self.offset, self.step
        return min(free, key=lambda slot: (slot - offset) * step % size)


class Maglev(Generic[H]):
    """The table; its size is a prime."""

    __slots__ = ("table",)

    def __init__(self, table: list[H]) -> None:
        self.table = table

    def pick(self, drawn: float, hash_key: int | None = None, attempt: int = 0) -> H:
        """The host in the hash's slot; each attempt looks in quite another slot."""
        if hash_key is None:
            hash_key = bits(drawn)
        if attempt:
            hash_key ^= (MASK - attempt + 1) & MASK
        return self.table[hash_key % len(self.table)]


def maglev(shares: Sequence[tuple[H, float]], policy: MaglevPolicy) -> Slices[Maglev[H]]:
    """A table; hosts claim slots in the order of their keys, whatever theirs was."""
    ordered = sorted(shares, key=lambda pair: pair[0].label)
    return Maglev((yield from fill(ordered, policy.table_size)))


def fill(shares: Sequence[tuple[H, float]], size: int) -> Slices[list[H]]:
    """Give every slot a host, in proportion to the shares."""
    heaviest = max(share for _, share in shares)
    claims = [Claim(host, share, size) for host, share in shares]
    table: list[H | None] = [None] * size
    filled = 0
    free: set[int] = set()
    turn = 0
    while filled < size:
        turn += 1
        for claim in claims:
            # The heaviest claims a slot each turn, a host of a third of its weight
            # every third turn.
            if turn * claim.weight < claim.target:
                continue
            claim.target += heaviest
            if free:
                slot = claim.search(free, size)
                free.discard(slot)
            else:
                slot = claim.walk(table, size)
            table[slot] = claim.host
            filled += 1
            if not filled % SLICE:
                yield
            if filled == size:
                break
            if filled == size - FEW:
                free = {number for number, host in enumerate(table) if host is None}
    return [host for host in table if host is not None]
