"""Round robin: each host in turn, in proportion to its weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic

from waypoint.balancing.edf import Schedule
from waypoint.balancing.host import H, weighs_even
from waypoint.balancing.slow_start import STEADY, Ramp


class RoundRobin(Generic[H]):
    """A plain turn while weights are the same, a schedule otherwise.

    start, from [0, 1): where the first turn begins.
    """

    __slots__ = ("hosts", "index", "schedule")

    def __init__(self, hosts: Sequence[H], start: float = 0.0, ramp: Ramp = STEADY) -> None:
        self.hosts = hosts
        self.index = int(start * len(hosts))
        self.schedule: Schedule[H] | None = None
        if not weighs_even(hosts) or ramp.any_slow(hosts):
            self.schedule = Schedule(hosts, lambda host: host.weight * ramp.factor(host), start)

    def pick(self, drawn: float, hash_key: int | None = None, attempt: int = 0) -> H:
        """The next host in turn, whatever was drawn or hashed."""
        if self.schedule is not None:
            return self.schedule.next()
        index = self.index
        self.index = index + 1 if index + 1 < len(self.hosts) else 0
        return self.hosts[index]
