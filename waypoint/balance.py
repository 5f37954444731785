"""Which endpoint gets the next request: pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Generic, TypeVar

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Balance(Generic[E]):
    """Endpoints, and running totals of their weights; None: all weigh the same."""

    endpoints: tuple[E, ...]
    bounds: tuple[int, ...] | None

    def pick(self, drawn: float, tried: Collection[E] = ()) -> E | None:
        """An endpoint at random by weight that wasn't tried; None: there is none.

        drawn: a random number from [0, 1).
        """
        endpoints = self.endpoints
        if tried:
            return self.without(tried).pick(drawn)
        if not endpoints:
            return None
        if self.bounds is None:
            return endpoints[int(drawn * len(endpoints))]
        return endpoints[bisect_right(self.bounds, int(drawn * self.bounds[-1]))]

    def without(self, tried: Collection[E]) -> Balance[E]:
        """The same, some endpoints left out."""
        if self.bounds is None:
            return Balance(tuple(e for e in self.endpoints if e not in tried), None)
        steps = zip((0, *self.bounds), self.bounds, strict=False)
        weighted = zip(self.endpoints, (high - low for low, high in steps), strict=True)
        return balanced([(e, weight) for e, weight in weighted if e not in tried])


def balanced(weighted: Sequence[tuple[E, int]]) -> Balance[E]:
    """Endpoints with their weights; those of weight 0 get nothing."""
    chosen = [(endpoint, weight) for endpoint, weight in weighted if weight > 0]
    endpoints = tuple(endpoint for endpoint, _ in chosen)
    if len({weight for _, weight in chosen}) <= 1:
        return Balance(endpoints, None)
    return Balance(endpoints, tuple(accumulate(weight for _, weight in chosen)))
