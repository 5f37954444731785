"""How often each policy denied a connection, or would have.

The kernel counts by chunk and rule, exactly; the numbers of a set that goes are
added up under its policies' names first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bpf.layout import Hit, Verdict
from bpf.percpu import Counts

#: What a trial says of a connection that it would let pass.
DRY_PASS = Verdict.DRY_ALLOWED
#: The key of the policy that a chunk's rule is of, or an empty text.
Namer = Callable[[int, int], str]


@dataclass(frozen=True, slots=True)
class PolicyTotal:
    """Connections with this verdict; policy: its key, empty where none decided.

    closed: established ones, closed after a push; else at the SYN.
    """

    policy: str
    verdict: Verdict
    count: int
    closed: bool = False


class Totals:
    """Counts by policy and verdict since the start of this process."""

    def __init__(self, hits: Counts[Hit], name: Namer) -> None:
        self.hits = hits
        self.name = name
        self.folded: Counter[tuple[str, Verdict]] = Counter()
        self.closed: Counter[tuple[str, Verdict]] = Counter()

    def fold(self, numbers: Iterable[int]) -> None:
        """Add up what chunks counted that no guard names any more, and delete it."""
        chunks = set(numbers)
        for hit, count in list(self.hits.items()):
            if hit.chunk in chunks:
                self.folded[self.key(hit)] += count
                self.hits.delete(hit)

    def close(self, policy: str) -> None:
        """An established connection was closed."""
        verdict = Verdict.DENIED if policy else Verdict.NOT_ALLOWED
        self.closed[policy, verdict] += 1

    def key(self, hit: Hit) -> tuple[str, Verdict]:
        """What a hit is counted under."""
        return self.name(hit.chunk, hit.rule), Verdict(hit.verdict)

    def by_policy(self, *, dry: bool) -> dict[str, int]:
        """Connections denied, or denied if policies that are dry run were in force."""
        counts: Counter[str] = Counter()
        for row in self.rows():
            if (row.verdict >= Verdict.DRY_DENIED) is dry and row.verdict is not DRY_PASS:
                counts[row.policy] += row.count
        return counts

    def rows(self) -> list[PolicyTotal]:
        """All totals that aren't 0, in the order of the policies' keys."""
        counts = Counter(self.folded)
        for hit, count in self.hits.items():
            counts[self.key(hit)] += count
        return [
            *(PolicyTotal(*key, count) for key, count in sorted(counts.items())),
            *(
                PolicyTotal(*key, count, closed=True)
                for key, count in sorted(self.closed.items())
            ),
        ]
