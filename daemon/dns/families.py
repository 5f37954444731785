"""DNS counters as Prometheus families, under ztunnel's names (src/dns/metrics.rs)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from daemon.dns.metrics import BUCKETS, Bound, DnsMetrics, Durations, Labels


def collect(metrics: DnsMetrics) -> Iterable[Metric]:
    """All families; may be called in another thread than the one that counts."""
    return (
        counter("istio_dns_requests", "DNS queries", metrics.requests),
        counter(
            "istio_dns_upstream_requests",
            "DNS queries that the cluster DNS was asked",
            metrics.upstream_requests,
        ),
        counter(
            "istio_dns_upstream_failures",
            "DNS queries that the cluster DNS didn't answer",
            metrics.upstream_failures,
        ),
        durations(metrics.upstream_durations),
        refused(metrics.refused),
    )


def counter(name: str, what: str, rows: Mapping[Labels, int]) -> CounterMetricFamily:
    """A counter by who asked for what."""
    made = CounterMetricFamily(name, what, labels=Labels._fields)
    for labels, value in list(rows.items()):
        made.add_metric(labels, value)
    return made


def durations(rows: Mapping[Labels, Durations]) -> HistogramMetricFamily:
    """How long the cluster DNS took."""
    made = HistogramMetricFamily(
        "istio_dns_upstream_request_duration_seconds",
        "time until the cluster DNS answered, or none of it did",
        labels=Labels._fields,
    )
    bounds = [*map(str, BUCKETS), "+Inf"]
    for labels, observed in list(rows.items()):
        buckets = list(zip(bounds, accumulate(observed.buckets), strict=True))
        made.add_metric(labels, buckets, observed.seconds)
    return made


def refused(rows: Mapping[Bound, int]) -> CounterMetricFamily:
    """What wasn't done for a bound."""
    made = CounterMetricFamily(
        "tandem_dns_refused", "DNS queries and connections beyond a bound", labels=["bound"]
    )
    for bound in Bound:
        made.add_metric([bound.name.lower()], rows.get(bound, 0))
    return made
