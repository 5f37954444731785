"""The client's side of a mirrored request: nobody waits for its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waypoint.replies import Answer
from waypoint.stats import Stats
from waypoint.unconnected import Unconnected
from waypoint.worker import Caller

if TYPE_CHECKING:
    from waypoint.exchange import Exchange


#: Bytes of a body that may wait for a copy's endpoint.
BEHIND = 1024 * 1024


class Shadow(Unconnected):
    """Takes a response, and drops it."""

    __slots__ = ("behind", "holds", "stats")

    def __init__(self, caller: Caller, stats: Stats) -> None:
        super().__init__(caller)
        self.stats = stats
        self.holds = 0
        self.behind = 0
        stats.mirrored += 1

    def answer(self, exchange: Exchange, answer: Answer) -> bool:
        """Count that the copy got nowhere."""
        self.stats.mirrors_failed += 1
        return True

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
