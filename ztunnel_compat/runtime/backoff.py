"""How long to wait before trying again."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Exponential delays with full jitter.

    The n-th delay is drawn evenly from 0 to ``initial * 2**n`` seconds, at most
    ``maximum``: clients that lost the same server don't come back in step.
    draw: a source of numbers in [0, 1).
    """

    def __init__(
        self,
        initial: float,
        maximum: float,
        draw: Callable[[], float] = random.random,
    ) -> None:
        if not 0 < initial <= maximum:
            raise ValueError(f"back-off from {initial} s to {maximum} s: need 0 < from <= to")
        self.initial = initial
        self.maximum = maximum
        self.draw = draw
        self.ceiling = initial

    def next(self) -> float:
        """The delay before the next attempt, in seconds."""
        delay = self.draw() * self.ceiling
        self.ceiling = min(self.ceiling * 2, self.maximum)
        return delay

    def reset(self) -> None:
        """Start over: the last attempt worked."""
        self.ceiling = self.initial
