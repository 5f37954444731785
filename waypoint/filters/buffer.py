"""Envoy's Buffer: no request whose body is larger than a bound, and none that isn't whole."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from waypoint.filters.verdicts import PASSED, TOO_LARGE, Asked, Verdict

if TYPE_CHECKING:
    from waypoint.filters.passage import Passage

#: What a request's body may be told to be held back for at most: it stays in memory.
MOST = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Buffer:
    """Holds requests back until their body is there; most: its bytes at most."""

    name: str
    most: int
    clusters: tuple[str, ...] = ()

    def begin(self, asked: Asked, passage: Passage) -> Verdict | Awaitable[Verdict]:
        """Refuse what says that it is too large; else wait for the body."""
        most: int = self.most if asked.override is None else asked.override
        length = asked.request.header(b"content-length")
        if length is not None and int(length) > most:
            return TOO_LARGE
        return whole(passage, most)


async def whole(passage: Passage, most: int) -> Verdict:
    """Wait until the body is whole, or too large."""
    content, _ = await passage.body(most + 1)
    return TOO_LARGE if len(content) > most else PASSED
