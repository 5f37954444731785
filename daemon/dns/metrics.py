"""DNS counters under ztunnel's names (src/dns/metrics.rs), as plain values.

dns_requests_total, dns_upstream_requests_total, dns_upstream_failures_total
dns_upstream_request_duration_seconds
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

#: Upper bounds of the histogram's buckets, in seconds; above the last is one more.
BUCKETS: Final = (0.001, 0.005, 0.01, 0.1, 1.0, 5.0)


class Labels(NamedTuple):
    """What a query is counted by; source: the pod that asked, or ``unknown``."""

    request_query_type: str
    request_protocol: str
    source_canonical_service: str = "unknown"
    source_canonical_revision: str = "unknown"


class Bound(Enum):
    """What was bounded where something was not done."""

    POD_QUERIES = "one pod's queries that wait for the upstream"
    QUERIES = "all queries that wait for the upstream"
    CONNECTIONS = "one pod's TCP connections"
    SIZE = "the size of a query"
    IDLE = "the time that a connection may be silent"


@dataclass(slots=True)
class Durations:
    """A histogram: observations per bucket (not summed up), and their total."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.buckets[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds


@dataclass(slots=True)
class DnsMetrics:
    """All counters since the start; refused: by the bound that was reached."""

    requests: Counter[Labels] = field(default_factory=Counter)
    upstream_requests: Counter[Labels] = field(default_factory=Counter)
    upstream_failures: Counter[Labels] = field(default_factory=Counter)
    upstream_durations: dict[Labels, Durations] = field(default_factory=dict)
    refused: Counter[Bound] = field(default_factory=Counter)

    def forwarded(self, labels: Labels, seconds: float, *, failed: bool) -> None:
        """Count a query that the upstream was asked."""
        self.upstream_requests[labels] += 1
        self.upstream_durations.setdefault(labels, Durations()).observe(seconds)
        if failed:
            self.upstream_failures[labels] += 1
