"""Asks a rate limit service about each request that has descriptors."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from waypoint.errors import InquiryError
from waypoint.filters.descriptors import Descriptor, cluster_of, descriptors, limits_of
from waypoint.filters.global_limit import wire
from waypoint.filters.global_limit.settings import Override, Settings
from waypoint.filters.global_limit.verdict import failed, let_on, limit_fields, refused
from waypoint.filters.room import Room
from waypoint.filters.unary import call
from waypoint.filters.verdicts import PASSED, Asked, Verdict
from waypoint.routing import Route

if TYPE_CHECKING:
    from waypoint.filters.passage import Passage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GlobalLimit:
    """Envoy's ratelimit filter."""

    name: str
    settings: Settings
    room: Room = field(default_factory=Room, compare=False)

    @property
    def clusters(self) -> tuple[str, ...]:
        """The service's."""
        return (self.settings.service.cluster,)

    def begin(self, asked: Asked, passage: Passage) -> Verdict | Awaitable[Verdict]:
        """Ask, where a request counts as something."""
        settings = self.settings
        found = self.descriptors(asked, passage.route)
        if not found or not settings.asked_for.holds(passage.worker.random()):
            return PASSED
        if not self.room.take():
            passage.worker.stats.filter("ratelimit.overflow")
            return failed(settings)
        return self.ask(found, asked, passage)

    def descriptors(self, asked: Asked, route: Route | None) -> tuple[Descriptor, ...]:
        """What a request counts as."""
        override: Override | None = asked.override
        limits = (override.limits if override else ()) or self.settings.limits
        limits = limits or limits_of(route, override.host if override else None)
        return descriptors(limits, self.settings.stage, asked, cluster_of(route))

    async def ask(
        self, found: tuple[Descriptor, ...], asked: Asked, passage: Passage
    ) -> Verdict:
        """Ask, and do as the service says."""
        settings = self.settings
        override: Override | None = asked.override
        domain = (override.domain if override else "") or settings.domain
        try:
            message = wire.encoded(domain, found)
            answer = wire.decoded(await call(passage, settings.service, wire.METHOD, message))
        except InquiryError as error:
            logger.debug("ratelimit %s: %s", self.name, error)
            return failed(settings)
        finally:
            self.room.free()
        if settings.tell:
            passage.add_to_response(*limit_fields(answer.statuses))
        if not answer.over:
            passage.add_to_response(*answer.response)
            return let_on(answer, asked.request)
        if not settings.enforced_for.holds(passage.worker.random()):
            return let_on(answer, asked.request, counted="ratelimit.over_limit_allowed")
        return refused(answer, settings, asked.request, asked.facts)
