"""Numbers by their labels: so many sets of labels at most, and none that goes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ztunnel_compat.istio_labels import Labels

#: Sets of labels in one book. Each of a request has some seventy lines of a kilobyte.
MOST_ROWS: Final = 1000
#: Seconds without a change, after which a row may go: that of a workload that is gone
#: changes no more. The shorter one is for a book that is half full.
IDLE: Final = 24 * 3600.0
IDLE_FULL: Final = 3600.0


class Book:
    """Rows of so many numbers, by their labels.

    other: the labels under which what finds no room is summed; those sets are few.
    """

    def __init__(
        self, size: int, other: Callable[[Labels], Labels], most: int = MOST_ROWS
    ) -> None:
        self.size = size
        self.other = other
        self.most = most
        self.rows: dict[Labels, list[int]] = {}
        #: How often labels were looked up for which there was no room.
        self.overflows = 0
        #: A row's sum when it was last looked at, and since when it is that.
        self.seen: dict[Labels, tuple[int, float]] = {}

    def row(self, labels: Labels) -> list[int]:
        """The numbers of these labels, to be added to; good until the next ``forget``."""
        found = self.rows.get(labels)
        if found is None:
            if len(self.rows) >= self.most:
                self.overflows += 1
                labels = self.other(labels)
            found = self.rows.setdefault(labels, [0] * self.size)
        return found

    def add(self, labels: Labels, numbers: Sequence[int]) -> None:
        """Add to a row."""
        row = self.row(labels)
        for index, number in enumerate(numbers):
            row[index] += number

    def forget(self, now: float) -> bool:
        """Drop rows that haven't changed for long; whether any went. now: seconds."""
        patience = IDLE_FULL if len(self.rows) > self.most // 2 else IDLE
        seen: dict[Labels, tuple[int, float]] = {}
        gone = []
        for labels, row in self.rows.items():
            total = sum(row)
            before, since = self.seen.get(labels, (-1, now))
            if total != before:
                since = now
            if now - since > patience:
                gone.append(labels)
            else:
                seen[labels] = (total, since)
        for labels in gone:
            del self.rows[labels]
        self.seen = seen
        return bool(gone)

    def copy(self) -> dict[Labels, list[int]]:
        """The numbers as they are now."""
        return {labels: row[:] for labels, row in self.rows.items()}
