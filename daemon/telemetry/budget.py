"""How many lines there may be in a second."""

from __future__ import annotations


class Budget:
    """Lines at a rate, up to a second's worth at once; counts what it refuses."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.left = float(rate)
        self.filled = 0.0
        self.refused = 0

    def spend(self, lines: int, now: float) -> bool:
        """Whether so many lines may be written; now: seconds, never going back."""
        if now > self.filled:
            self.left = min(self.rate, self.left + (now - self.filled) * self.rate)
            self.filled = now
        if lines > self.left:
            self.refused += lines
            return False
        self.left -= lines
        return True
