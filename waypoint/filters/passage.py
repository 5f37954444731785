"""One request's way through the filters that are asked for each request anew."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from waypoint.choice import draw
from waypoint.filters.chain import DISABLED, Gate, moves, passed
from waypoint.filters.soundness import checked, sound_fields
from waypoint.filters.taps import Tap, Taps
from waypoint.filters.verdicts import Asked, Later, Passed, Refusal, Verdict
from waypoint.holds import FILTERS
from waypoint.layers.response import parse_response
from waypoint.messages import Field
from waypoint.plan import replanned
from waypoint.routing import Forward

if TYPE_CHECKING:
    from waypoint.exchange import Exchange
    from waypoint.routing import Route
    from waypoint.worker import Worker

UNDECIDED = Refusal(503, b"a filter could not decide\n", "filter_undecided", "UAEX")


class Passage:
    """Asks one filter after the other; while one waits, the client's body does too.

    asked: the request as it is now.
    """

    __slots__ = (
        "asked", "at", "changed", "exchange", "gate", "limit", "overrides", "reroute", "task",
        "waiter", "wanted",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, gate: Gate) -> None:
        self.exchange = exchange
        self.gate = gate
        self.at = gate.at
        self.asked: Asked = gate.asked
        #: The settings that filters have of the request's route.
        self.overrides = gate.overrides
        self.changed = False
        self.reroute = False
        self.task: asyncio.Task[None] | None = None
        #: Who waits for so many bytes of the body.
        self.limit = 0
        self.waiter: asyncio.Future[None] | None = None
        #: A client that asks first whether its body is wanted has been told so.
        self.wanted = False

    @property
    def worker(self) -> Worker:
        """What all connections share."""
        return self.exchange.worker

    @property
    def route(self) -> Route | None:
        """The route that the request has so far."""
        return self.exchange.plan.route

    def run(self) -> bool:
        """Go on until a filter waits or refuses; whether all of them passed."""
        filters = self.gate.chain.filters
        while self.at < len(filters):
            placed = filters[self.at]
            setting = placed.setting(self.overrides)
            if setting == DISABLED:
                self.at += 1
                continue
            asked = self.asked._replace(override=setting)
            found = placed.filter
            verdict = (
                found.begin(asked, self)  # type: ignore[union-attr]
                if placed.step
                else found.decide(asked)  # type: ignore[union-attr]
            )
            if isinstance(verdict, Later):
                verdict = self.decide_later(verdict)
            if inspect.isawaitable(verdict):
                self.wait(verdict)
                return False
            assert isinstance(verdict, Passed | Refusal)
            if not self.take(verdict):
                return False
        return True

    async def decide_later(self, later: Later) -> Verdict:
        """What a HeadFilter says once it has what it waited for."""
        await later.wait()
        placed = self.gate.chain.filters[self.at]
        assert not hasattr(placed.filter, "begin")
        asked = self.asked._replace(override=placed.setting(self.overrides))
        verdict = placed.filter.decide(asked)
        return UNDECIDED if isinstance(verdict, Later) else verdict

    def take(self, verdict: Verdict) -> bool:
        """Note a filter's verdict; whether the request goes on."""
        verdict = checked(verdict)
        for name in verdict.counts:
            self.worker.stats.filter(name)
        if isinstance(verdict, Refusal):
            self.exchange.refuse(verdict)
            return False
        self.asked = passed(self.asked, self.gate.chain.filters[self.at].filter.name, verdict)
        self.changed = self.changed or verdict.request is not None
        self.reroute = self.reroute or verdict.reroute
        self.at += 1
        table = self.exchange.plan.target.table
        if moves(verdict, sought=self.reroute or table.reads_notes):
            plan = replanned(self.exchange.plan, self.asked, self.worker.random())
            self.exchange.plan = plan
            self.overrides = table.settings(plan.route)
        return True

    def wait(self, verdict: Awaitable[Verdict]) -> None:
        """Have a filter take its time; the client's body waits."""
        if not self.exchange.complete:
            self.exchange.down.hold(FILTERS)
        self.task = self.worker.tasks.spawn(self.finish(verdict), "filter")

    async def finish(self, verdict: Awaitable[Verdict]) -> None:
        """Go on with what a filter says in the end."""
        said = await verdict
        self.task = None
        if not self.exchange.over and self.take(said) and self.run():
            self.exchange.passed()

    async def body(self, limit: int) -> tuple[bytes, bool]:
        """The body's first bytes, and whether that is all of it.

        limit: how many are wanted; there may be more.
        """
        exchange = self.exchange
        while not exchange.complete and len(exchange.pending) < limit:
            self.want_body()
            self.limit = limit
            self.waiter = self.worker.loop.create_future()
            exchange.down.release(FILTERS)
            await self.waiter
        return exchange.pending, exchange.complete

    def want_body(self) -> None:
        """Have a client go on that waits to be told so (RFC 9110 section 10.1.1).

        No endpoint can, since none hears of the request before its body is here.
        """
        if self.wanted or self.exchange.pending:
            return
        self.wanted = True
        if (self.gate.asked.request.header(b"expect") or b"").lower() == b"100-continue":
            self.exchange.interim(parse_response(b"HTTP/1.1 100 Continue\r\n\r\n"))

    def more(self) -> None:
        """More of the body came, or its end."""
        exchange, waiter = self.exchange, self.waiter
        if waiter is not None and (exchange.complete or len(exchange.pending) >= self.limit):
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)
        if self.waiter is None and not exchange.complete:
            exchange.down.hold(FILTERS)

    def add_to_response(self, *fields: Field) -> None:
        """Fields that the response gets beside its own, whoever gives it.

        Those that would break its head are left out, and counted.
        """
        if not sound_fields(fields):
            self.worker.stats.filter("broke_response")
            return
        self.exchange.more = (*self.exchange.more, *fields)

    def flag(self, flag: str) -> None:
        """Have the access log show a flag beside others."""
        self.exchange.flags = (*self.exchange.flags, flag)

    def cluster(self) -> str:
        """The cluster that the request goes to by its route as it is now; empty for none."""
        route = self.exchange.plan.route
        action = route.action if route is not None else None
        if not isinstance(action, Forward):
            return ""
        return action.clusters[action.choose(draw(self.exchange))].name

    def tap(self, make: Callable[[Taps], Tap]) -> None:
        """Have the response go through a tap, before those that are there already."""
        self.exchange.add_tap(make)

    def cancel(self) -> None:
        """Nobody waits any more."""
        if self.task is not None:
            self.task.cancel()
            self.task = None
