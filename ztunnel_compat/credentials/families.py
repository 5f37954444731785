"""Certificates as Prometheus families."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ztunnel_compat.credentials.holder import Holder, State
from ztunnel_compat.errors import CertificateFailure


def collect(holder: Holder) -> Iterable[Metric]:
    """How many there are in each state, and how requests for them ended."""
    states = Counter(holder.state(held) for held in list(holder.held.values()))
    certificates = GaugeMetricFamily(
        "tandem_certificates", "service accounts on this node, by certificate", labels=["state"]
    )
    for state in State:
        certificates.add_metric([state.value.lower()], states[state])
    requests = CounterMetricFamily(
        "tandem_certificate_requests", "requests to the CA, by result", labels=["result"]
    )
    requests.add_metric(["success"], holder.issued)
    for failure in CertificateFailure:
        requests.add_metric([failure], holder.failures[failure])
    return certificates, requests
