"""Refused clients: all are counted, as many are logged as somebody can read."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

from deploy.standalone.control.errors import CallerError

logger = logging.getLogger(__name__)

#: Lines in so many seconds.
LINES = 20
SECONDS = 10.0


class Refusals:
    """counts: refusals by kind, since the start. clock: seconds, never going back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.counts: Counter[str] = Counter()
        self.since = clock()
        self.lines = 0
        self.silent = 0

    def note(self, peer: str, error: CallerError) -> None:
        """A client was refused."""
        self.counts[type(error).__name__.removesuffix("Error")] += 1
        now = self.clock()
        if now - self.since >= SECONDS:
            if self.silent:
                logger.warning("%d more clients were refused before", self.silent)
            self.since, self.lines, self.silent = now, 0, 0
        if self.lines >= LINES:
            self.silent += 1
            return
        self.lines += 1
        logger.warning("a client at %s was refused: %s", peer, error)
