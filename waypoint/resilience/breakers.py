"""Circuit breakers: what a cluster may have at a time, for each priority."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from waypoint.resilience.budget import UNLIMITED, RetryBudget


class Resource(Enum):
    """What is counted."""

    CONNECTIONS = "connections"
    #: Requests that wait for a connection.
    PENDING = "pending_requests"
    REQUESTS = "requests"
    RETRIES = "retries"


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

    __slots__ = ("counts", "overflows", "thresholds")

    def __init__(self, thresholds: Thresholds) -> None:
        self.thresholds = thresholds
        self.counts = dict.fromkeys(Resource, 0)
        #: What was refused, since the start.
        self.overflows = dict.fromkeys(Resource, 0)

    def limit(self, resource: Resource) -> int:
        """The most there may be of something now."""
        thresholds = self.thresholds
        match resource:
            case Resource.CONNECTIONS:
                return thresholds.connections
            case Resource.PENDING:
                return thresholds.pending
            case Resource.REQUESTS:
                return thresholds.requests
            case Resource.RETRIES if thresholds.budget is not None:
                active = self.counts[Resource.REQUESTS] + self.counts[Resource.PENDING]
                return thresholds.budget.allowed(active)
            case _:
                return thresholds.retries

    def has_room(self, resource: Resource) -> bool:
        """Whether there may be one more."""
        return self.counts[resource] < self.limit(resource)

    def take(self, resource: Resource) -> bool:
        """Count one more; False, and nothing is counted: there are too many."""
        if not self.has_room(resource):
            self.overflows[resource] += 1
            return False
        self.counts[resource] += 1
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
            resource.value: max(0, self.limit(resource) - self.counts[resource])
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
        self.default.thresholds = settings.default
        self.high.thresholds = settings.high

    def dump(self) -> dict[str, object]:
        """Counts, what was refused, and what is left, JSON-able."""
        return {
            name: {
                "active": {resource.value: n for resource, n in breaker.counts.items() if n},
                "overflows": {r.value: n for r, n in breaker.overflows.items() if n},
                "remaining": dict(breaker.remaining()),
            }
            for name, breaker in (("default", self.default), ("high", self.high))
        }
