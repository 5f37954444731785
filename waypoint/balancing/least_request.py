"""Least request: the less busy of two hosts drawn, or by weight and business."""

from __future__ import annotations

from collections.abc import Sequence
from math import pow as power
from typing import Generic

from waypoint.balancing.draws import bits, redrawn
from waypoint.balancing.edf import Schedule
from waypoint.balancing.host import H, weighs_even
from waypoint.balancing.policies import LeastRequestPolicy
from waypoint.balancing.slow_start import STEADY, Ramp


class LeastRequest(Generic[H]):
    """Of hosts of one weight, the least busy of some; else a schedule.

    In the schedule a host counts with weight / (active + 1) ** bias.
    """

    __slots__ = ("hosts", "policy", "schedule")

    def __init__(
        self,
        hosts: Sequence[H],
        start: float = 0.0,
        policy: LeastRequestPolicy | None = None,
        ramp: Ramp = STEADY,
    ) -> None:
        self.hosts = hosts
        self.policy = policy = policy or LeastRequestPolicy()
        self.schedule: Schedule[H] | None = None
        if not weighs_even(hosts) or ramp.any_slow(hosts):
            bias = policy.active_request_bias

            def weigh(host: H) -> float:
                return host.weight / power(host.active + 1, bias) * ramp.factor(host)

            self.schedule = Schedule(hosts, weigh, start)

    def pick(self, drawn: float, hash_key: int | None = None, attempt: int = 0) -> H:
        """The less busy; of equals the first drawn."""
        if self.schedule is not None:
            return self.schedule.next()
        hosts = self.hosts
        count = len(hosts)
        if count == 1:
            return hosts[0]
        if attempt:
            drawn = redrawn(drawn, attempt)
        if self.policy.full_scan:
            return self.least(drawn)
        place = drawn * count
        first = hosts[int(place)]
        second = hosts[int((place - int(place)) * count)]
        if second.active < first.active:
            first = second
        for number in range(2, self.policy.choices):
            other = hosts[bits(drawn, number) % count]
            if other.active < first.active:
                first = other
        return first

    def least(self, drawn: float) -> H:
        """The least busy of all, of equals one at random."""
        fewest = min(host.active for host in self.hosts)
        equals = [host for host in self.hosts if host.active == fewest]
        return equals[int(drawn * len(equals))]
