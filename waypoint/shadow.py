"""The client's side of a mirrored request: nobody waits for its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waypoint.layers.headers import Field
from waypoint.layers.response import ResponseHead
from waypoint.replies import Answer
from waypoint.stats import Stats
from waypoint.worker import Caller

if TYPE_CHECKING:
    from waypoint.exchange import Exchange


#: Bytes of a body that may wait for a copy's endpoint.
BEHIND = 1024 * 1024


class Shadow:
    """Takes a response, and drops it."""

    __slots__ = ("active", "behind", "caller", "holds", "paused", "stats")

    raw = False
    #: Envoy logs no copies either.
    logged = False

    def __init__(self, caller: Caller, stats: Stats) -> None:
        self.caller = caller
        self.stats = stats
        self.active = False
        self.paused = False
        self.holds = 0
        self.behind = 0
        stats.mirrored += 1

    def received(self) -> int:
        """Nobody asks."""
        return 0

    def keeps(self, exchange: Exchange) -> bool:
        """There is no connection to keep."""
        return True

    def interim(self, head: ResponseHead) -> None:
        """Drop it."""

    def whole(self, exchange: Exchange, head: ResponseHead, data: bytes, length: int) -> bool:
        """Drop it."""
        return True

    def respond(
        self, exchange: Exchange, head: ResponseHead, first: bytes, *, raw: bool
    ) -> None:
        """Drop it."""

    def respond_end(self, exchange: Exchange, head: ResponseHead) -> None:
        """Drop it."""

    def data(self, data: bytes, *, end: bool = False) -> None:
        """Drop it."""

    def trailers(self, fields: list[Field]) -> None:
        """Drop it."""

    def switch(self, exchange: Exchange, head: ResponseHead) -> None:
        """Upgrades aren't copied."""

    def answer(self, exchange: Exchange, answer: Answer) -> bool:
        """Count that the copy got nowhere."""
        self.stats.mirrors_failed += 1
        return True

    def cut(self, *, code: int) -> None:
        """Drop it."""

    def hold(self, why: int) -> None:
        """The copy's endpoint is slow: the client isn't held up for it."""
        self.holds |= why

    def release(self, why: int) -> None:
        """It caught up."""
        self.holds &= ~why
        if not self.holds:
            self.behind = 0

    def falls_behind(self, size: int) -> bool:
        """Whether too much of the body waits, with so many more bytes of it."""
        if not self.holds:
            return False
        self.behind += size
        if self.behind <= BEHIND:
            return False
        self.stats.mirrors_failed += 1
        return True

    def finished(self, *, keep: bool) -> None:
        """The copy is over."""
