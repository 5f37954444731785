"""Deadlines, kept coarsely so that a request costs no timer."""

from __future__ import annotations

from typing import Protocol


class Timed(Protocol):
    """Something with a deadline; tick is the wheel's own note of where it is."""

    tick: int

    def due(self, now: float) -> float | None:
        """Act if it's time; when to ask again, or None when there is no need."""


class Wheel:
    """Holds things by the second in which they want to be asked.

    A deadline that moves to later needs no call here: who is asked too early
    says when to ask again. One that moves to earlier is set again.
    """

    def __init__(self, now: float) -> None:
        self.last = int(now)
        self.slots: dict[int, set[Timed]] = {}

    def set(self, timed: Timed, when: float) -> None:
        """Ask timed once the time is when, within about a second."""
        self.remove(timed)
        timed.tick = max(int(when), self.last) + 1
        self.slots.setdefault(timed.tick, set()).add(timed)

    def remove(self, timed: Timed) -> None:
        """Don't ask it any more."""
        slot = self.slots.get(timed.tick)
        if slot is not None:
            slot.discard(timed)
            if not slot:
                del self.slots[timed.tick]
        timed.tick = 0

    def advance(self, now: float) -> None:
        """Ask everything whose second has passed."""
        for tick in range(self.last + 1, int(now) + 1):
            self.last = tick
            for timed in self.slots.pop(tick, ()):
                timed.tick = 0
                when = timed.due(now)
                if when is not None:
                    self.set(timed, when)
