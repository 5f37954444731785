"""Circuit breakers: what a cluster may have at a time, for each priority."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

from waypoint.resilience.budget import UNLIMITED, RetryBudget


class Resource(IntEnum):
    """What is counted: indices of a Breaker's lists. title: Envoy's name for it."""

    CONNECTIONS = 0
    #: Requests that wait for a connection.
    PENDING = 1
    REQUESTS = 2
    RETRIES = 3

    @property
    def title(self) -> str:
        """See above."""
        return "pending_requests" if self is Resource.PENDING else self.name.lower()


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The most there may be at a time; the defaults are Istio's: no bound.

    budget: takes the place of retries. track_remaining: whether what is left is shown.
    """

    connections: int = UNLIMITED
    pending: int = UNLIMITED
    requests: int = UNLIMITED
    retries: int = UNLIMITED
    budget: RetryBudget | None = None
    track_remaining: bool = False


UNBOUNDED = Thresholds()


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """Thresholds for requests of default and of high priority."""

    default: Thresholds = UNBOUNDED
    high: Thresholds = UNBOUNDED


class Breaker:
    """One priority's counts; a take that returns True is given back with free."""

    __slots__ = ("counts", "most", "overflows", "thresholds")

    def __init__(self, thresholds: Thresholds) -> None:
        self.counts = [0] * len(Resource)
        #: What was refused, since the start.
        self.overflows = [0] * len(Resource)
        self.adjust(thresholds)

    def adjust(self, thresholds: Thresholds) -> None:
        """Other thresholds from now on."""
        self.thresholds = thresholds
        #: The most there may be of each; of retries where no budget says so.
        self.most = [
            thresholds.connections,
            thresholds.pending,
            thresholds.requests,
            thresholds.retries,
        ]

    def limit(self, resource: Resource) -> int:
        """The most there may be of something now."""
        budget = self.thresholds.budget
        if budget is not None and resource is Resource.RETRIES:
            active = self.counts[Resource.REQUESTS] + self.counts[Resource.PENDING]
            return budget.allowed(active)
        return self.most[resource]

    def has_room(self, resource: Resource) -> bool:
        """Whether there may be one more."""
        return self.counts[resource] < self.limit(resource)

    def take(self, resource: Resource) -> bool:
        """Count one more; False, and nothing is counted: there are too many."""
        counts = self.counts
        budget = self.thresholds.budget
        if counts[resource] >= (self.limit(resource) if budget else self.most[resource]):
            self.overflows[resource] += 1
            return False
        counts[resource] += 1
        return True

    def add(self, resource: Resource) -> None:
        """Count one more that has to be, and that it is too many where it is."""
        if not self.take(resource):
            self.counts[resource] += 1

    def free(self, resource: Resource) -> None:
        """One less."""
        self.counts[resource] -= 1

    def remaining(self) -> Mapping[str, int]:
        """What is left of each, where the settings ask for it."""
        if not self.thresholds.track_remaining:
            return MappingProxyType({})
        return {
            resource.title: max(0, self.limit(resource) - self.counts[resource])
            for resource in Resource
        }


class Breakers:
    """A cluster's, by priority; new settings keep what is counted."""

    __slots__ = ("default", "high")

    def __init__(self, settings: BreakerSettings) -> None:
        self.default = Breaker(settings.default)
        self.high = Breaker(settings.high)

    def adjust(self, settings: BreakerSettings) -> None:
        """Other thresholds from now on."""
        self.default.adjust(settings.default)
        self.high.adjust(settings.high)

    def dump(self) -> dict[str, object]:
        """Counts, what was refused, and what is left, JSON-able."""
        return {
            name: {
                "active": {r.title: breaker.counts[r] for r in Resource if breaker.counts[r]},
                "overflows": {
                    r.title: breaker.overflows[r] for r in Resource if breaker.overflows[r]
                },
                "remaining": dict(breaker.remaining()),
            }
            for name, breaker in (("default", self.default), ("high", self.high))
        }
