"""Asks an authorization server about each request."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from waypoint.errors import InquiryError
from waypoint.filters.ext_authz import wire
from waypoint.filters.ext_authz.check import Check, headers_for
from waypoint.filters.ext_authz.http import question, ruling_of
from waypoint.filters.ext_authz.settings import (
    NO_OVERRIDE,
    Allowed,
    BodySettings,
    Edit,
    HttpService,
    Override,
    Ruling,
    Settings,
)
from waypoint.filters.ext_authz.tap import ResponseEdits
from waypoint.filters.ext_authz.verdict import failed, settable, sound, verdict_of
from waypoint.filters.inquiry import inquire
from waypoint.filters.room import Room
from waypoint.filters.unary import call
from waypoint.filters.verdicts import TOO_LARGE, Asked, Passed, Verdict

if TYPE_CHECKING:
    from waypoint.filters.passage import Passage

logger = logging.getLogger(__name__)

SKIPPED = Passed(counts=("ext_authz.disabled",))


class Body(NamedTuple):
    """What the server gets of the body; partial: there is more; None: it gets none."""

    first: bytes | None = None
    partial: bool | None = None


NO_BODY = Body()


@dataclass(frozen=True, slots=True)
class ExtAuthz:
    """Envoy's ext_authz filter."""

    name: str
    settings: Settings
    room: Room = field(default_factory=Room, compare=False)

    @property
    def clusters(self) -> tuple[str, ...]:
        """The server's."""
        return (self.settings.service.cluster,)

    def begin(self, asked: Asked, passage: Passage) -> Verdict | Awaitable[Verdict]:
        """Ask, unless the request isn't to be asked about."""
        settings = self.settings
        if settings.enabled_by is not None and not settings.enabled_by.accepts(asked.notes):
            return SKIPPED
        if not settings.enabled_for.holds(passage.worker.random()):
            return SKIPPED
        if not self.room.take():
            passage.worker.stats.filter("ext_authz.overflow")
            return failed(asked.request, settings)
        return self.ask(asked, passage)

    async def ask(self, asked: Asked, passage: Passage) -> Verdict:
        """Ask, and do as the server says."""
        settings = self.settings
        try:
            override: Override = asked.override or NO_OVERRIDE
            wanted = None if override.no_body else override.body or settings.body
            body = await read_body(passage, wanted)
            if body.partial and wanted is not None and not wanted.partial:
                return TOO_LARGE
            check = check_of(asked, passage, settings, body)
            ruling = await self.rule(check, passage, wanted)
        except InquiryError as error:
            logger.debug("ext_authz %s: %s", self.name, error)
            return failed(asked.request, settings)
        finally:
            self.room.free()
        verdict = verdict_of(ruling, asked.request, settings)
        if isinstance(ruling, Allowed) and sound(ruling.response) and ruling.response:
            change_response(passage, ruling)
        return verdict

    async def rule(self, check: Check, passage: Passage, body: BodySettings | None) -> Ruling:
        """What the server says; raises InquiryError."""
        service = self.settings.service
        if not isinstance(service, HttpService):
            message = wire.encoded(
                check,
                as_bytes=body is not None and body.as_bytes,
                raw_headers=self.settings.raw_headers,
            )
            return wire.decoded(await call(passage, service, wire.METHOD, message))
        exchange = passage.exchange
        answer = await inquire(
            passage.worker,
            exchange.down.caller,
            exchange.plan.target.clusters[service.cluster],
            question(check, service),
            check.body or b"",
            seconds=service.timeout,
        )
        return ruling_of(answer, service)


async def read_body(passage: Passage, wanted: BodySettings | None) -> Body:
    """The body's first bytes, as many as the server may get."""
    if wanted is None:
        return NO_BODY
    first, complete = await passage.body(wanted.limit if wanted.partial else wanted.limit + 1)
    return Body(first[: wanted.limit], len(first) > wanted.limit or not complete)


def check_of(asked: Asked, passage: Passage, settings: Settings, body: Body) -> Check:
    """What the server is told."""
    request, exchange = asked.request, passage.exchange
    override: Override = asked.override or NO_OVERRIDE
    return Check(
        request.method,
        request.path,
        request.authority,
        request.scheme,
        exchange.request_id,
        headers_for(asked, settings, body.partial),
        body.first,
        max(exchange.plan.head.body, -1),
        asked.facts,
        exchange.wall,
        override.context,
        {name: asked.notes[name] for name in settings.namespaces if name in asked.notes},
    )


def change_response(passage: Passage, ruling: Allowed) -> None:
    """Have the client get what the server has for it."""
    if all(edit is Edit.ADD for edit, _, _ in ruling.response):
        added = settable(ruling.response)
        passage.add_to_response(*((name, value) for _, name, value in added))
    else:
        passage.tap(lambda taps: ResponseEdits(taps, ruling.response))
