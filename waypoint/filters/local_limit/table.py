"""Buckets' states in a piece of memory, found by their names' hashes: pure.

A row has a few places, a place two words: the hash (0: nobody's), and the moment at which
the bucket is full again. A place whose moment is past is anybody's. A state is written
before its hash: who is killed in between changed nothing but what had to go anyway.
"""

from __future__ import annotations

from dataclasses import dataclass

WAYS = 16
WORDS = 2
ROW = WAYS * WORDS


@dataclass(slots=True)
class Place:
    """Where a bucket was found last; hash: its name's, not 0."""

    hash: int
    at: int = -1


class Table:
    """Rows within a view of 64-bit words, from one of them on.

    evicted: how often a bucket that wasn't full had to go for another.
    """

    __slots__ = ("evicted", "rows", "start", "words")

    def __init__(self, words: memoryview, start: int, rows: int) -> None:
        self.words = words
        self.start = start
        self.rows = rows
        self.evicted = 0

    @staticmethod
    def size(rows: int) -> int:
        """How many words so many rows take."""
        return rows * ROW

    def row(self, name: int) -> int:
        """The row of a hash."""
        return name % self.rows

    def find(self, place: Place, now: int) -> int:
        """The word of a bucket's state; it is a new one's, and full, where it wasn't there.

        Who calls holds the row's lock.
        """
        words = self.words
        at = place.at
        if at >= 0 and words[at] == place.hash:
            return at + 1
        first = self.start + self.row(place.hash) * ROW
        row = words[first : first + ROW].tolist()
        hashes = row[::WORDS]
        if place.hash in hashes:
            at = first + hashes.index(place.hash) * WORDS
        else:
            at = first + self.spare(row, now) * WORDS
            words[at + 1] = now
            words[at] = place.hash
        place.at = at
        return at + 1

    def spare(self, row: list[int], now: int) -> int:
        """A place for another bucket: nobody's, or of the one that is full the soonest."""
        hashes, moments = row[::WORDS], row[1::WORDS]
        if 0 in hashes:
            return hashes.index(0)
        soonest = min(moments)
        if soonest > now:
            self.evicted += 1
        return moments.index(soonest)
