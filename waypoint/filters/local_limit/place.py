"""Settings where they stand, and what was found out about requests there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from waypoint.filters.descriptors import Descriptor
from waypoint.filters.local_limit.settings import Choice, LocalLimit, choices, scope
from waypoint.filters.local_limit.shared import Buckets, Handle

if TYPE_CHECKING:
    from waypoint.filters.passage import Passage

#: What a place remembers at most, and of how many bytes each.
REMEMBERED, LENGTH = 4096, 256
K = TypeVar("K")
V = TypeVar("V")


class Counted(NamedTuple):
    """What is counted, by Envoy's names: evicted, busy are of ours."""

    enabled: str
    ok: str
    rate_limited: str
    enforced: str
    evicted: str
    busy: str


def counted(prefix: str) -> Counted:
    """The names with a configured prefix."""
    return Counted(*(f"{prefix}.http_local_rate_limit.{name}" for name in Counted._fields))


class Place:
    """Settings where they stand, with the buckets that requests met there.

    Each push makes these anew; the buckets themselves stay (see shared).
    """

    __slots__ = ("at", "chosen", "counted", "handles", "limit", "scope")

    def __init__(self, limit: LocalLimit, at: str) -> None:
        self.limit = limit
        self.at = at
        self.scope: bytes | None = None
        self.counted = counted(limit.prefix)
        #: By requests' descriptors, and by buckets' names.
        self.chosen: dict[tuple[Descriptor, ...], tuple[Choice, ...]] = {}
        self.handles: dict[bytes, Handle] = {}

    def scoped(self, name: str, passage: Passage) -> bytes:
        """What sets its buckets apart: one place is of one target, and at most one route."""
        if self.scope is None:
            plan = passage.exchange.plan
            target = plan.target
            self.scope = scope(target.name, target.port, name, self.at, plan.route)
        return self.scope

    def choices(self, found: tuple[Descriptor, ...]) -> tuple[Choice, ...]:
        """The buckets for some descriptors, chosen once."""
        chosen = self.chosen.get(found)
        if chosen is None:
            chosen = choices(self.limit, found)
            if length(found) <= LENGTH:
                remember(self.chosen, found, chosen)
        return chosen

    def handle(self, scope: bytes, choice: Choice, buckets: Buckets) -> Handle:
        """A bucket, found by its name once."""
        found = self.handles.get(choice.name)
        if found is None:
            found = buckets.handle(scope + choice.name, choice.bucket, dynamic=choice.dynamic)
            if len(choice.name) <= 2 * LENGTH:
                remember(self.handles, choice.name, found)
        return found


def length(found: tuple[Descriptor, ...]) -> int:
    """How much descriptors take, about."""
    return sum(len(value) for each in found for _, value in each.entries)


def remember(known: dict[K, V], key: K, value: V) -> None:
    """Keep something, and no more than so much."""
    if len(known) >= REMEMBERED:
        del known[next(iter(known))]
    known[key] = value
