"""The filter that keeps local limits."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from waypoint.filters.descriptors import descriptors, limits_of
from waypoint.filters.local_limit.place import Place
from waypoint.filters.local_limit.taking import Taking, holds
from waypoint.filters.verdicts import PASSED, Asked, Verdict

if TYPE_CHECKING:
    from waypoint.filters.passage import Passage


class LocalLimitFilter:
    """Takes tokens for each request, and refuses those for which there are none."""

    __slots__ = ("clusters", "name", "place")

    def __init__(self, name: str, place: Place) -> None:
        self.name = name
        self.place = place
        self.clusters: tuple[str, ...] = ()

    @property
    def inert(self) -> bool:
        """Whether only routes' settings limit anything."""
        return self.place.limit.inert

    def begin(self, asked: Asked, passage: Passage) -> Verdict | Awaitable[Verdict]:
        """What becomes of a request."""
        place: Place = self.place if asked.override is None else asked.override
        limit, worker = place.limit, passage.worker
        if limit.inert or not holds(limit.enabled, passage):
            return PASSED
        worker.stats.filter(place.counted.enabled)
        route = passage.exchange.plan.route
        found = (
            descriptors(
                limit.own or limits_of(route, limit.host),
                limit.stage,
                asked,
                passage.cluster(),
            )
            if limit.limits
            else ()
        )
        taking = Taking(place, place.scoped(self.name, passage), asked, passage)
        return taking.go_on(place.choices(found))
