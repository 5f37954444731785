"""How much goes to which priority: Envoy's priority load and panic, in per cent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Per cent: a priority with 1/1.4 of its hosts healthy still takes all of its load.
OVERPROVISIONING = 140


@dataclass(frozen=True, slots=True)
class Health:
    """How many hosts a priority has, and how many of them are healthy."""

    healthy: int
    hosts: int

    @property
    def availability(self) -> int:
        """Per cent of its load that it can take."""
        if not self.hosts:
            return 0
        return min(100, OVERPROVISIONING * self.healthy // self.hosts)

    def panics(self, threshold: float) -> bool:
        """Whether too few are healthy for health to count."""
        return (100 * self.healthy / self.hosts if self.hosts else 0.0) < threshold


@dataclass(frozen=True, slots=True)
class Load:
    """A priority's share, in per cent, and whether it panics."""

    share: int
    panic: bool


def priority_loads(priorities: Sequence[Health], threshold: float) -> list[Load]:
    """Spread the load over priorities, the lowest number first.

    Nobody panics while the priorities together can take everything. Where all
    panic, each gets a share in proportion to its hosts.
    """
    total = min(100, sum(health.availability for health in priorities))
    panics = [total < 100 and health.panics(threshold) for health in priorities]
    if panics and all(panics):
        return [Load(share, True) for share in by_hosts(priorities)]
    if total == 0:
        return [Load(100 if number == 0 else 0, False) for number in range(len(priorities))]
    shares: list[int] = []
    left = 100
    for health in priorities:
        shares.append(min(left, health.availability * 100 // total))
        left -= shares[-1]
    # What rounding left over goes to the first that takes anything.
    taker = next(number for number, share in enumerate(shares) if share)
    shares[taker] += left
    return [Load(share, panic) for share, panic in zip(shares, panics, strict=True)]


def by_hosts(priorities: Sequence[Health]) -> list[int]:
    """Shares in proportion to how many hosts each has; what rounding leaves, to the first."""
    total = sum(health.hosts for health in priorities)
    if not total:
        return [100 if number == 0 else 0 for number in range(len(priorities))]
    shares = [100 * health.hosts // total for health in priorities]
    shares[next(n for n, health in enumerate(priorities) if health.hosts)] += 100 - sum(shares)
    return shares


def locality_share(weight: int, health: Health) -> float:
    """What a locality's weight counts by how many of its hosts are healthy."""
    if not health.hosts:
        return 0.0
    return weight * min(1.0, OVERPROVISIONING * health.healthy / health.hosts / 100)
