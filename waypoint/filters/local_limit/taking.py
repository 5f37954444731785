"""One request's way through its buckets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from time import monotonic_ns
from typing import TYPE_CHECKING

from waypoint.filters.local_limit.bucket import Level, take
from waypoint.filters.local_limit.place import Place
from waypoint.filters.local_limit.settings import (
    BODY,
    DETAILS,
    LIMITED,
    RESOURCE_EXHAUSTED,
    RETRY_AFTER,
    Choice,
    retry_after,
    told,
)
from waypoint.filters.verdicts import PASSED, Asked, Passed, Refusal, Verdict
from waypoint.routing.conditions import Fraction
from waypoint.routing.edits import edit_request, edit_response

if TYPE_CHECKING:
    from waypoint.filters.passage import Passage

#: Buckets that one connection may have.
OWN = 256
#: Seconds between two attempts to get a bucket that another process keeps, and how many.
PAUSE, ATTEMPTS = 0.001, 100


class Taking:
    """Takes of them, and says what becomes of the request."""

    __slots__ = ("asked", "limit", "passage", "place", "scope", "shown")

    def __init__(self, place: Place, scope: bytes, asked: Asked, passage: Passage) -> None:
        self.place = place
        self.limit = place.limit
        self.scope = scope
        self.asked = asked
        self.passage = passage
        #: The bucket that the response tells of: the first that it took of.
        self.shown: tuple[Choice, Level] | None = None

    def go_on(self, chosen: tuple[Choice, ...]) -> Verdict | Awaitable[Verdict]:
        """Take of one bucket after the other."""
        for index, choice in enumerate(chosen):
            level = self.own(choice) if self.limit.per_connection else self.shared(choice)
            if level is None:
                return self.wait(chosen[index:])
            if not level.taken:
                return self.limited(choice, level)
            self.show(choice, level)
        return self.passed()

    async def wait(self, chosen: tuple[Choice, ...]) -> Verdict:
        """Come again shortly: a process was stopped while it took of the same bucket."""
        first = chosen[0]
        for _ in range(ATTEMPTS):
            await asyncio.sleep(PAUSE)
            level = self.shared(first)
            if level is None:
                continue
            if not level.taken:
                return self.limited(first, level)
            self.show(first, level)
            verdict = self.go_on(chosen[1:])
            return verdict if isinstance(verdict, Passed | Refusal) else await verdict
        # Nobody knows how much is left, so nothing is.
        self.count(self.place.counted.busy)
        now = monotonic_ns()
        return self.limited(first, Level(False, now + first.bucket.window, now))

    def show(self, choice: Choice, level: Level) -> None:
        """Have the response tell of a bucket: of the first, as it is in the end."""
        if self.shown is None or self.shown[0].name == choice.name:
            self.shown = (choice, level)

    def shared(self, choice: Choice) -> Level | None:
        """Take of a bucket that all workers have in common."""
        buckets = self.passage.worker.buckets
        handle = self.place.handle(self.scope, choice, buckets)
        before = handle.table.evicted
        level = buckets.take(handle, choice.tokens)
        if handle.table.evicted != before:
            self.count(self.place.counted.evicted)
        return level

    def own(self, choice: Choice) -> Level:
        """Take of a bucket that is this connection's."""
        states = self.passage.exchange.down.caller.states
        name, now = hash((self.scope, choice.name)), monotonic_ns()
        level = take(choice.bucket, states.get(name, now), now, choice.tokens)
        if name not in states and len(states) >= OWN:
            soonest = min(states, key=states.__getitem__)
            if states.pop(soonest) > now:
                self.count(self.place.counted.evicted)
        states[name] = level.full
        return level

    def passed(self) -> Verdict:
        """There was enough for the request."""
        self.count(self.place.counted.ok)
        if self.limit.tells and self.shown is not None:
            choice, level = self.shown
            self.passage.add_to_response(*told(choice.bucket, level))
        return PASSED

    def limited(self, choice: Choice, level: Level) -> Verdict:
        """There wasn't."""
        limit, asked = self.limit, self.asked
        self.count(self.place.counted.rate_limited)
        tells = told(choice.bucket, level) if limit.tells else ()
        if not holds(limit.enforced, self.passage):
            self.passage.add_to_response(*tells)
            changed = edit_request(asked.request, (limit.unenforced,), asked.facts)
            return PASSED if changed is asked.request else Passed(changed)
        self.count(self.place.counted.enforced)
        fields = edit_response((), asked.request, (limit.answer,), asked.facts)
        if RETRY_AFTER not in {name for name, _ in fields}:
            fields += (retry_after(choice.bucket, level, choice.tokens),)
        return Refusal(
            limit.status,
            BODY,
            DETAILS,
            LIMITED,
            fields + tells,
            grpc=RESOURCE_EXHAUSTED if limit.exhausted else None,
        )

    def count(self, what: str) -> None:
        """Count something."""
        self.passage.worker.stats.filter(what)


def holds(share: Fraction, passage: Passage) -> bool:
    """Whether a request is in a share of them; all of them need no draw."""
    whole = share.numerator >= share.denominator
    return whole or share.holds(passage.worker.random())
