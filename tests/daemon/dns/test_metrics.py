from __future__ import annotations

from daemon.dns.metrics import BUCKETS, DnsMetrics, Labels


def test_what_was_forwarded_is_counted_and_timed() -> None:
    metrics = DnsMetrics()
    labels = Labels("a", "udp")
    for seconds in (0.0005, 0.001, 0.05, 60.0):
        metrics.forwarded(labels, seconds, failed=seconds > 1)
    assert metrics.upstream_requests == {labels: 4}
    assert metrics.upstream_failures == {labels: 1}
    durations = metrics.upstream_durations[labels]
    assert durations.buckets == [2, 0, 0, 1, 0, 0, 1]
    assert len(durations.buckets) == len(BUCKETS) + 1
    assert durations.seconds == 60.0515
    assert labels._asdict() == {
        "request_query_type": "a",
        "request_protocol": "udp",
        "source_canonical_service": "unknown",
        "source_canonical_revision": "unknown",
    }
