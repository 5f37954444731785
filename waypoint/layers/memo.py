"""Heads seen before need no parsing again."""

from __future__ import annotations

from typing import Generic, TypeVar

V = TypeVar("V")


class HeadMemo(Generic[V]):
    """Raw head → what it was parsed to, bounded, shared by all connections.

    A head is let in when it is seen a second time: most that are unique never
    come back. Heads that hold secrets must not be offered (their holders say so),
    since the memo outlives connections. Only hashes of first sightings are kept;
    Python's are keyed per process, so nobody can aim at collisions.
    """

    def __init__(self, *, entries: int = 4096, longest: int = 4096) -> None:
        self.entries = entries
        self.longest = longest
        self.records: dict[bytes, V] = {}
        self.seen: set[int] = set()
        #: How often the memo was full and started over.
        self.restarts = 0
        #: The lookup itself, bound once: it is on every request's path.
        self.get = self.records.get

    def offer(self, raw: bytes, record: V) -> None:
        """Remember a record that was just parsed, when it is worth it."""
        if len(raw) > self.longest:
            return
        sighting = hash(raw)
        if sighting not in self.seen:
            if len(self.seen) >= self.entries:
                self.seen.clear()
            self.seen.add(sighting)
            return
        if len(self.records) >= self.entries and raw not in self.records:
            self.records.clear()
            self.restarts += 1
        self.records[raw] = record
