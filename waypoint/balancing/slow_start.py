"""Slow start: a host that is new gets its share little by little."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import pow as power

from waypoint.balancing.host import Host


@dataclass(frozen=True, slots=True)
class SlowStart:
    """window: seconds; aggression: above 1, more of the weight comes early; floor: the
    least share of its weight that a host has, per cent.
    """

    window: float
    aggression: float = 1.0
    floor: float = 10.0

    def factor(self, age: float) -> float:
        """What a weight is multiplied with, for a host's age in seconds."""
        if age >= self.window:
            return 1.0
        # Envoy counts the first millisecond as passed.
        share = max(age, 0.001) / self.window
        return max(power(share, 1 / self.aggression), self.floor / 100)


class Ramp:
    """Weights that follow hosts' ages; now: the clock that their since is of."""

    __slots__ = ("now", "settings")

    def __init__(self, settings: SlowStart | None, now: Callable[[], float]) -> None:
        self.settings = settings
        self.now = now

    def any_slow(self, hosts: Iterable[Host]) -> bool:
        """Whether any hasn't its whole weight yet."""
        return any(self.factor(host) < 1 for host in hosts)

    def factor(self, host: Host) -> float:
        """What a host's weight is multiplied with now."""
        if self.settings is None or host.since is None:
            return 1.0
        return self.settings.factor(self.now() - host.since)


#: Nobody starts slowly.
STEADY = Ramp(None, time.monotonic)
