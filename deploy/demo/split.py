"""How answers divide over versions, and whether chance allows it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# Chance leaves four standard deviations once in 16,000 runs: a demo that says "no" means it.
SIGMAS = 4.0


@dataclass(frozen=True)
class Split:
    """Answers counted by version."""

    counts: Mapping[str, int]

    @classmethod
    def of(cls, versions: Iterable[str]) -> Split:
        """Count the versions."""
        counts: dict[str, int] = {}
        for version in versions:
            counts[version] = counts.get(version, 0) + 1
        return cls(counts)

    @property
    def total(self) -> int:
        """How many answers there are."""
        return sum(self.counts.values())

    def share(self, version: str) -> float:
        """The version's part of all answers, 0 to 1."""
        return self.counts.get(version, 0) / self.total if self.total else 0.0


def shares(weights: Mapping[str, int]) -> dict[str, float]:
    """The part of all requests that a route's weights ask for, by version, 0 to 1."""
    total = sum(weights.values())
    return {version: weight / total for version, weight in weights.items()}


def bound(share: float, total: int) -> float:
    """How far (0 to 1) chance may take the part seen among `total` from the part asked."""
    return SIGMAS * math.sqrt(share * (1 - share) / total) if total else 0.0


def complaint(asked: Mapping[str, int], seen: Split) -> str | None:
    """What isn't as the weights ask; None if chance explains all of it."""
    if not seen.total:
        return "no answers at all"
    wanted = shares(asked)
    for version in sorted({*wanted, *seen.counts}):
        share = wanted.get(version, 0.0)
        if abs(seen.share(version) - share) > bound(share, seen.total):
            return (
                f"{version} was asked for {share:.0%} and seen in {seen.share(version):.1%}"
                f" of {seen.total} answers, more than ±{bound(share, seen.total):.1%} off"
            )
    return None
