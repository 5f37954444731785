"""How many questions a filter may ask at once."""

from __future__ import annotations

from dataclasses import dataclass

#: Questions of one filter at a time; beyond that, there is no answer.
MOST = 1024


@dataclass(slots=True, eq=False)
class Room:
    """Room for so many at a time."""

    limit: int = MOST
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
