"""How much a plug-in may say in the log: so much at once, and so much a second."""

from __future__ import annotations


class Allowance:
    """A token bucket. suppressed: how often there was none since it was last asked."""

    __slots__ = ("burst", "left", "rate", "suppressed", "when")

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self.left = burst
        self.when = 0.0
        self.suppressed = 0

    def take(self, now: float) -> bool:
        """Whether there is one more; now: seconds, only ever growing."""
        self.left = min(self.burst, self.left + (now - self.when) * self.rate)
        self.when = now
        if self.left < 1:
            self.suppressed += 1
            return False
        self.left -= 1
        return True

    def missed(self) -> int:
        """How many there were none for, since this was last asked."""
        missed, self.suppressed = self.suppressed, 0
        return missed


def printable(text: str) -> str:
    """A text that can't pretend to be more than one line of a log."""
    return "".join([c if c.isprintable() else ascii(c)[1:-1] for c in text])
