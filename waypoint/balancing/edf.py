"""Earliest deadline first: weights honoured in turn, not by chance (Envoy's)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heapreplace
from typing import Generic, TypeVar

T = TypeVar("T")
#: Choices that may already have been made at the start: several turns of most sets.
STARTS = 1 << 16


class Schedule(Generic[T]):
    """Each entry comes up every 1/weight of a unit of time.

    start, from [0, 1): how far the schedule has already run, so that several workers
    don't all begin with the same host. weigh is asked again at each choice.
    """

    __slots__ = ("heap", "serial", "weigh")

    def __init__(
        self, entries: Sequence[T], weigh: Callable[[T], float], start: float = 0.0
    ) -> None:
        self.weigh = weigh
        picks = int(start * STARTS)
        weights = [weigh(entry) for entry in entries]
        total = sum(weights)
        #: (when it is due, the order among equals, the entry)
        self.heap: list[tuple[float, int, T]] = []
        done = 0
        for order, (entry, weight) in enumerate(zip(entries, weights, strict=True)):
            turns = int(picks * weight / total)
            done += turns
            self.heap.append(((turns + 1) / weight, order, entry))
        heapify(self.heap)
        self.serial = len(self.heap)
        for _ in range(picks - done):
            self.next()

    def next(self) -> T:
        """The entry whose deadline is earliest, which then waits again."""
        deadline, _, entry = self.heap[0]
        heapreplace(self.heap, (deadline + 1 / self.weigh(entry), self.serial, entry))
        self.serial += 1
        return entry
