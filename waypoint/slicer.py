"""Long work in slices, between which the event loop serves everybody else."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

#: Seconds of work in one go, and of pause after it.
WORK = 0.003
PAUSE = 0.003


class Slicer:
    """Calls each step again and again until it says that all is done."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.steps: deque[Callable[[], bool]] = deque()

    def add(self, step: Callable[[], bool]) -> None:
        """Have a step called from the next turn on, until it answers True."""
        self.steps.append(step)
        if len(self.steps) == 1:
            self.loop.call_soon(self.work)

    def work(self) -> None:
        """A slice."""
        end = self.loop.time() + WORK
        steps = self.steps
        try:
            while steps and self.loop.time() < end:
                step = steps.popleft()
                if not step():
                    steps.appendleft(step)
        finally:
            # One that fails is for the loop to tell of, and not for the others to suffer.
            if steps:
                self.loop.call_later(PAUSE, self.work)
