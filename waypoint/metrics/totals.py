"""What several processes have counted together, while they end and others take over.

What a process tells is taken in as the difference to what it told before. So a process
that begins again from 0 takes nothing away, nor does a row that it forgot; what a process
counted after it was last asked is lost with it.
"""

from __future__ import annotations

from collections.abc import Sequence

from waypoint.metrics.book import Book
from waypoint.metrics.families import MOST_TOGETHER
from waypoint.metrics.labels import other_messages, other_request, other_stream
from waypoint.metrics.recorder import MESSAGES_SIZE, REQUEST_SIZE, STREAM_SIZE
from waypoint.metrics.snapshot import Rows, Series, Snapshot

NOTHING = Snapshot()


class Totals:
    """The sum over the places that processes have, each by its number."""

    def __init__(self) -> None:
        self.requests = Book(REQUEST_SIZE, other_request)
        self.streams = Book(STREAM_SIZE, other_stream)
        self.messages = Book(MESSAGES_SIZE, other_messages)
        self.counts: dict[Series, int] = {}
        self.last: dict[int, Snapshot] = {}

    def take(self, number: int, told: Snapshot) -> None:
        """Take in what the process at a place tells now."""
        before = self.last.get(number, NOTHING)
        if before.life != told.life:
            before = NOTHING
        self.last[number] = told
        grow(self.requests, before.requests, told.requests)
        grow(self.streams, before.streams, told.streams)
        grow(self.messages, before.messages, told.messages)
        for series, count in told.counts.items():
            grown = count - before.counts.get(series, 0)
            self.counts[series] = self.counts.get(series, 0) + (count if grown < 0 else grown)

    def gone(self, number: int) -> None:
        """There is no process at a place: it has nothing now, but what it counted stays."""
        last = self.last.get(number)
        if last is not None:
            last.gauges = {}

    def sum(self) -> Snapshot:
        """All of it, as one process would tell it."""
        gauges: dict[Series, int] = {}
        for told in self.last.values():
            for series, value in told.gauges.items():
                known = gauges.get(series)
                if known is None:
                    gauges[series] = value
                else:
                    most = series[0] in MOST_TOGETHER
                    gauges[series] = max(known, value) if most else known + value
        books = self.requests.copy(), self.streams.copy()
        return Snapshot(0, *books, dict(self.counts), gauges, self.messages.copy())

    def forget(self, now: float) -> None:
        """Drop what hasn't changed for long."""
        self.requests.forget(now)
        self.streams.forget(now)
        self.messages.forget(now)


def grow(book: Book, before: Rows, now: Rows) -> None:
    """Add by how much rows have grown; all of a row that began again from 0."""
    for labels, row in now.items():
        old = before.get(labels)
        if old != row:
            book.add(labels, row if old is None else difference(row, old))


def difference(now: Sequence[int], before: Sequence[int]) -> Sequence[int]:
    """How much a row has grown; all of it, where it began again."""
    grown = [new - old for new, old in zip(now, before, strict=True)]
    return now if min(grown) < 0 else grown
