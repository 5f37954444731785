"""The filter that injects faults."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from waypoint.filters.fault.pace import Paced
from waypoint.filters.fault.settings import (
    DELAYED,
    DELAYS,
    OVERFLOWS,
    PACES,
    Fault,
    abort_of,
    concerns,
    delay_of,
    rate_of,
)
from waypoint.filters.verdicts import PASSED, Asked, Verdict

if TYPE_CHECKING:
    from waypoint.filters.passage import Passage


@dataclass(slots=True)
class Active:
    """How many requests a filter does something to at the moment."""

    count: int = 0


@dataclass(slots=True)
class Charge:
    """One request's part in that: once, however many faults it gets."""

    active: Active
    taken: bool = False

    def take(self, most: int | None) -> bool:
        """Whether one more is allowed."""
        if self.taken:
            return True
        if most is not None and self.active.count >= most:
            return False
        self.active.count += 1
        self.taken = True
        return True

    def free(self) -> None:
        """The request's faults are over."""
        if self.taken:
            self.taken = False
            self.active.count -= 1


@dataclass(frozen=True, slots=True)
class FaultFilter:
    """Holds requests, answers them, slows their responses down; a route's own settings
    take the place of all of the filter's.
    """

    name: str
    fault: Fault
    clusters: tuple[str, ...] = ()
    active: Active = field(default_factory=Active, compare=False)

    @property
    def inert(self) -> bool:
        """Whether only routes' settings do something."""
        return self.fault.inert

    def begin(self, asked: Asked, passage: Passage) -> Verdict | Awaitable[Verdict]:
        """What happens to a request."""
        fault: Fault = self.fault if asked.override is None else asked.override
        if fault.inert or not concerns(fault, asked.request):
            return PASSED
        if fault.cluster and fault.cluster != passage.cluster():
            return PASSED
        injection = Injection(fault, asked, passage, Charge(self.active))
        injection.pace()
        return injection.delay() or injection.abort()


@dataclass(slots=True)
class Injection:
    """What one request gets."""

    fault: Fault
    asked: Asked
    passage: Passage
    charge: Charge
    paced: bool = False

    def allowed(self) -> bool:
        """Whether there may be one more request with a fault; counts when there mayn't."""
        if self.charge.take(self.fault.most):
            return True
        self.passage.worker.stats.filter(OVERFLOWS)
        return False

    def pace(self) -> None:
        """Slow the response down, if that is its lot."""
        worker = self.passage.worker
        rate = rate_of(self.fault, self.asked.request, worker.random())
        if rate and self.allowed():
            worker.stats.filter(PACES)
            self.paced = True
            self.passage.tap(lambda taps: Paced(taps, rate, self.charge.free))

    def delay(self) -> Awaitable[Verdict] | None:
        """Hold the request, if that is its lot; what it is told then."""
        worker = self.passage.worker
        length = delay_of(self.fault, self.asked.request, worker.random())
        if not length or not self.allowed():
            return None
        worker.stats.filter(DELAYS)
        self.passage.flag(DELAYED)
        done: asyncio.Future[Verdict] = worker.loop.create_future()
        timer = worker.loop.call_later(length, self.go_on, done)

        def over(_done: asyncio.Future[Verdict]) -> None:
            timer.cancel()
            self.free()

        done.add_done_callback(over)
        return done

    def go_on(self, done: asyncio.Future[Verdict]) -> None:
        """The delay is over."""
        if not done.done():
            done.set_result(self.abort())

    def abort(self) -> Verdict:
        """Answer the request, if that is its lot."""
        refusal = abort_of(self.fault, self.asked.request, self.passage.worker.random())
        if refusal is None or not self.allowed():
            return PASSED
        self.free()
        return refusal

    def free(self) -> None:
        """Nothing more happens to the request, unless its response is slowed down."""
        if not self.paced:
            self.charge.free()
