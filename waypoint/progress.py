"""Whether what should move does, judged by looks at it from time to time.

A byte now and then is no progress: a peer that gives as little as keeps a timer from
running out holds what it holds for ever. So it has to bring, or to take, a frame's worth
within the time.
"""

from __future__ import annotations

from typing import NamedTuple

#: Bytes that count as going on.
ENOUGH = 16 * 1024


class Mark(NamedTuple):
    """When somebody last went on, and how far that was."""

    since: float
    done: int

    def stuck(self, now: float, seconds: float) -> bool:
        """Whether that is too long ago."""
        return now - self.since >= seconds


def marked(before: Mark | None, now: float, done: int) -> Mark:
    """The mark after a look; done: bytes so far."""
    if before is None or done - before.done >= ENOUGH:
        return Mark(now, done)
    return before
