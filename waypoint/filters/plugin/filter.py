"""The filter that asks a plug-in about each request."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from waypoint.errors import PluginError
from waypoint.filters.intakes import Intakes
from waypoint.filters.plugin.bodies import DETAILS, FAILED, BodyIntake, ResponseTap
from waypoint.filters.plugin.heads import passed_request, refusal_said, request_said
from waypoint.filters.plugin.session import Session
from waypoint.filters.plugin.spec import PluginSpec
from waypoint.filters.plugin.version import Version
from waypoint.filters.taps import Taps
from waypoint.filters.verdicts import PASSED, Asked, Passed, Refusal, Verdict

if TYPE_CHECKING:
    from waypoint.filters.passage import Passage

REFUSED = Refusal(500, FAILED, DETAILS, "UAEX")
TOO_LARGE = Refusal(413, b"the request is too large\n", "plugin_body_too_large", "UAEX")


class PluginFilter:
    """A plug-in's place in a chain."""

    __slots__ = ("clusters", "name", "spec")

    def __init__(self, spec: PluginSpec) -> None:
        self.spec = spec
        self.name = spec.name
        self.clusters: tuple[str, ...] = ()

    def begin(self, asked: Asked, passage: Passage) -> Verdict | Awaitable[Verdict]:
        """Ask it, once it is loaded; what it doesn't define it isn't asked."""
        try:
            version = passage.worker.plugins.current(self.spec)
        except PluginError as error:
            return self.missing(error)
        if version is None:
            return self.later(asked, passage)
        return self.ask(version, asked, passage)

    async def later(self, asked: Asked, passage: Passage) -> Verdict:
        """Ask it when it is loaded."""
        try:
            version = await passage.worker.plugins.find(self.spec)
        except PluginError as error:
            return self.missing(error)
        verdict = self.ask(version, asked, passage)
        return verdict if isinstance(verdict, Passed | Refusal) else await verdict

    def missing(self, error: PluginError) -> Verdict:
        """There is none to be asked."""
        counts = (f"{self.name}: failed",)
        if self.spec.fail_open:
            return Passed(counts=(*counts, f"{self.name}: bypassed"))
        return REFUSED._replace(counts=counts)

    def ask(
        self, version: Version, asked: Asked, passage: Passage
    ) -> Verdict | Awaitable[Verdict]:
        """Ask on_request, if there is one, and see to the rest."""
        exchange = passage.exchange
        head = exchange.plan.head
        bodies = frozenset() if head.upgrade else version.bodies
        session = Session(
            version,
            {},
            keep=bool(bodies) or "on_response" in version.hooks,
            left=passage.worker.plugins.left,
            count=passage.worker.stats.filter,
        )
        route = exchange.plan.route
        session.head = request_said(
            asked, exchange.down.caller.identity, route.name if route is not None else ""
        )
        if "on_request" in version.hooks:
            return self.on_request(session, asked, passage)
        self.attach(session, passage)
        return PASSED

    async def on_request(self, session: Session, asked: Asked, passage: Passage) -> Verdict:
        """Ask on_request."""
        try:
            verdict = await self.decide(session, asked, passage)
        except BaseException:
            session.close()
            raise
        if isinstance(verdict, Refusal) or session.bypassed:
            session.close()
        else:
            self.attach(session, passage)
        return verdict

    async def decide(self, session: Session, asked: Asked, passage: Passage) -> Verdict:
        """What on_request says."""
        body = b""
        limit = session.version.body_limit
        if limit:
            body, _ = await passage.body(limit + 1)
            if len(body) > limit:
                return TOO_LARGE
        try:
            said, content = await session.ask("request", {}, body)
        except PluginError:
            return PASSED if session.bypassed else REFUSED
        try:
            return (
                refusal_said(said, content) if "answer" in said else passed_request(asked, said)
            )
        except PluginError as error:
            session.failed(error)
            return PASSED if session.bypassed else REFUSED

    def attach(self, session: Session, passage: Passage) -> None:
        """Have the plug-in see what it defines of the rest."""
        exchange = passage.exchange
        if not session.keep:
            session.close()
            return
        head = exchange.plan.head
        bodies = frozenset() if head.upgrade else session.version.bodies
        asks = "on_response" in session.version.hooks

        def tap(taps: Taps) -> ResponseTap:
            return ResponseTap(taps, session, asks=asks, shows="response" in bodies)

        def intake(intakes: Intakes) -> BodyIntake:
            return BodyIntake(intakes, session)

        passage.tap(tap)
        if "request" in bodies and head.body:
            exchange.add_intake(intake)
