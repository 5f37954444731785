"""All numbers of a process at a moment: values, and the JSON that a parent is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ztunnel_compat.istio_labels import Labels

#: A family's name and the values of its labels.
Series = tuple[str, ...]
Rows = dict[Labels, list[int]]


@dataclass(slots=True)
class Snapshot:
    """What was counted, and what there is now.

    life: tells one process from the next in its place. requests, streams, messages: rows
    of the books; counts: what only grows; gauges: what goes both ways.
    """

    life: int = 0
    requests: Rows = field(default_factory=dict)
    streams: Rows = field(default_factory=dict)
    counts: dict[Series, int] = field(default_factory=dict)
    gauges: dict[Series, int] = field(default_factory=dict)
    messages: Rows = field(default_factory=dict)

    def dump(self) -> dict[str, Any]:
        """All of it, JSON-able."""
        return {
            "life": self.life,
            "requests": list(self.requests.items()),
            "streams": list(self.streams.items()),
            "messages": list(self.messages.items()),
            "counts": list(self.counts.items()),
            "gauges": list(self.gauges.items()),
        }


def read_snapshot(told: dict[str, Any]) -> Snapshot:
    """What ``dump`` made; of a process of ours, which says what it means."""
    kinds = ("requests", "streams", "messages", "counts", "gauges")
    found: dict[str, Any] = {kind: {tuple(key): n for key, n in told[kind]} for kind in kinds}
    return Snapshot(told["life"], **found)
