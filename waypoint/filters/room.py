"""How much may be going on at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Room:
    """Room for so many at a time."""

    limit: int
    taken: int = 0

    def take(self) -> bool:
        """Take a place; False: there is none."""
        if self.taken >= self.limit:
            return False
        self.taken += 1
        return True

    def free(self) -> None:
        """Give a place back."""
        self.taken -= 1
