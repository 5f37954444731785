from __future__ import annotations

from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from daemon.dns.families import collect
from daemon.dns.metrics import Bound, DnsMetrics, Labels


class Exported(Collector):
    def __init__(self, metrics: DnsMetrics) -> None:
        self.metrics = metrics

    def collect(self) -> list[Metric]:
        return list(collect(self.metrics))


def test_families_under_ztunnels_names() -> None:
    metrics = DnsMetrics()
    labels = Labels("a", "udp", "web", "v1")
    metrics.requests[labels] += 3
    for seconds in (0.002, 0.02, 3.0, 9.0):
        metrics.forwarded(labels, seconds, failed=seconds > 5)
    metrics.refused[Bound.CONNECTIONS] += 1
    samples = {
        (sample.name, sample.labels.get("le", sample.labels.get("bound"))): sample.value
        for family in collect(metrics)
        for sample in family.samples
    }
    seconds = "istio_dns_upstream_request_duration_seconds"
    assert samples == {
        ("istio_dns_requests_total", None): 3,
        ("istio_dns_upstream_requests_total", None): 4,
        ("istio_dns_upstream_failures_total", None): 1,
        (f"{seconds}_bucket", "0.001"): 0,
        (f"{seconds}_bucket", "0.005"): 1,
        (f"{seconds}_bucket", "0.01"): 1,
        (f"{seconds}_bucket", "0.1"): 2,
        (f"{seconds}_bucket", "1.0"): 2,
        (f"{seconds}_bucket", "5.0"): 3,
        (f"{seconds}_bucket", "+Inf"): 4,
        (f"{seconds}_count", None): 4,
        (f"{seconds}_sum", None): 12.022,
        ("tandem_dns_refused_total", "pod_queries"): 0,
        ("tandem_dns_refused_total", "queries"): 0,
        ("tandem_dns_refused_total", "connections"): 1,
        ("tandem_dns_refused_total", "size"): 0,
        ("tandem_dns_refused_total", "idle"): 0,
    }


def test_as_a_scrape_sees_them() -> None:
    metrics = DnsMetrics()
    metrics.requests[Labels("aaaa", "tcp", "web", "v1")] += 1
    registry = CollectorRegistry()
    registry.register(Exported(metrics))
    assert (
        'istio_dns_requests_total{request_protocol="tcp",request_query_type="aaaa",'
        'source_canonical_revision="v1",source_canonical_service="web"} 1.0'
    ) in generate_latest(registry).decode().splitlines()
