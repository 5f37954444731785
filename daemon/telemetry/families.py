"""Prometheus families, of Istio's names and labels, and of our own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from bpf.layout import Counter
from daemon.telemetry.labels import NAMES, RESPONSE_FLAGS
from daemon.telemetry.ledger import Account
from ztunnel_compat.istio_labels import Labels

ISTIO_LABELS: Final = (*NAMES, RESPONSE_FLAGS)
NANOSECONDS: Final = 1e9
MICROSECONDS: Final = 1e6

#: What each counter of the kernel's is called: family and label.
CONNECTS: Final = {
    Counter.CONNECT_DIRECT: "direct",
    Counter.CONNECT_SERVICE: "service",
    Counter.CONNECT_WAYPOINT: "waypoint",
}
REFUSALS: Final = {
    Counter.REFUSED_NO_PORT: "no_port",
    Counter.REFUSED_NO_ENDPOINT: "no_endpoint",
    Counter.REFUSED_NO_WAYPOINT: "no_waypoint",
    Counter.REFUSED_UNPROVEN: "unproven",
    Counter.REFUSED_UNGUARDED: "unguarded",
}
#: Counters of the kernel's that have a family of their own.
PLAIN: Final = {
    Counter.FLOW_TABLE_FULL: ("tandem_flow_table_full", "connections refused for want of room"),
    Counter.PENDING_LOST: ("tandem_pending_lost", "connections whose target is unknown"),
    Counter.EVENT_LOST: ("tandem_events_lost", "access-log events lost: nobody read in time"),
    Counter.TRAFFIC_FULL: ("tandem_traffic_unlabelled", "changes counted without labels"),
}


def traffic(accounts: Mapping[Labels, Account]) -> Iterable[Metric]:
    """Istio's five, and three of ours that say how the network is doing.

    Bytes are Istio's way around: received is what went from client to server.
    """
    opened = family("istio_tcp_connections_opened", "TCP connections opened")
    closed = family("istio_tcp_connections_closed", "TCP connections closed")
    failed = family("istio_tcp_connections_failed", "TCP connections that failed to establish")
    received = family("istio_tcp_received_bytes", "bytes from client to server")
    sent = family("istio_tcp_sent_bytes", "bytes from server to client")
    latency = family("tandem_tcp_connect_seconds", "time that connects took, summed")
    trip = family("tandem_tcp_round_trip_seconds", "round-trip times at close, summed")
    again = family("tandem_tcp_retransmits", "TCP segments sent again, of connections closed")
    for labels, account in accounts.items():
        # What was counted before may be what failed later: one look at each.
        to_server, to_client = account.show()
        fine = (*labels, "-")
        if account.opened or account.closed:
            opened.add_metric(fine, account.opened)
            closed.add_metric(fine, account.closed)
            received.add_metric(fine, to_server)
            sent.add_metric(fine, to_client)
            latency.add_metric(fine, account.latency / NANOSECONDS)
            trip.add_metric(fine, account.round_trip / MICROSECONDS)
        if account.retransmits:
            again.add_metric(fine, account.retransmits)
        # Each end counts what it saw: a client its failures, a server its denials.
        if labels[0] == "source" and account.failed:
            failed.add_metric((*labels, "CONNECT"), account.failed)
        if labels[0] == "destination" and account.denied:
            failed.add_metric((*labels, "DENY"), account.denied)
        for flag, number in list(account.flags.items()):
            failed.add_metric((*labels, flag), number)
    return opened, closed, failed, received, sent, latency, trip, again


def family(name: str, what: str) -> CounterMetricFamily:
    """A counter with Istio's labels."""
    return CounterMetricFamily(name, what, labels=ISTIO_LABELS)


def kernel(counters: Mapping[Counter, int]) -> Iterable[Metric]:
    """The kernel's own counters."""
    connects = CounterMetricFamily(
        "tandem_connects", "connects of enrolled pods, by where they lead", labels=["outcome"]
    )
    refusals = CounterMetricFamily(
        "tandem_refused", "connects and connections refused by a hook", labels=["reason"]
    )
    for counter, outcome in CONNECTS.items():
        connects.add_metric([outcome], counters[counter])
    for counter, reason in REFUSALS.items():
        refusals.add_metric([reason], counters[counter])
    yield connects
    yield refusals
    for counter, (name, what) in PLAIN.items():
        yield CounterMetricFamily(name, what, value=counters[counter])
    others = CounterMetricFamily(
        "tandem_kernel", "what the kernel programs count besides", labels=["counter"]
    )
    for counter in counters.keys() - CONNECTS.keys() - REFUSALS.keys() - PLAIN.keys():
        others.add_metric([counter.name.lower()], counters[counter])
    yield others


def maps(rows: Iterable[tuple[str, int, int, int]]) -> Iterable[Metric]:
    """How full the kernel's maps are: name, entries, most entries, times full."""
    entries = GaugeMetricFamily("tandem_map_entries", "entries in use", labels=["map"])
    most = GaugeMetricFamily("tandem_map_max_entries", "entries at most", labels=["map"])
    full = CounterMetricFamily("tandem_map_full", "changes that found no room", labels=["map"])
    for name, used, limit, refused in rows:
        entries.add_metric([name], used)
        most.add_metric([name], limit)
        full.add_metric([name], refused)
    return entries, most, full


def counted(
    name: str, what: str, label: str, rows: Mapping[str, int]
) -> Iterable[CounterMetricFamily]:
    """A counter with one label."""
    made = CounterMetricFamily(name, what, labels=[label])
    for value, number in rows.items():
        made.add_metric([value], number)
    yield made


def xds(
    terminations: Mapping[str, int], messages: Mapping[str, int], sizes: Mapping[str, int]
) -> Iterable[Metric]:
    """The control plane's stream, under ztunnel's names."""
    yield from counted(
        "istio_xds_connection_terminations", "xDS streams that ended", "reason", terminations
    )
    yield from counted("istio_xds_message", "xDS answers received", "url", messages)
    yield from counted("istio_xds_message_bytes", "bytes of xDS answers", "url", sizes)


def enrolment(active: int, started: int, stopped: int) -> Iterable[Metric]:
    """Pods in the mesh, under ztunnel's names."""
    yield GaugeMetricFamily(
        "workload_manager_active_proxy_count", "pods that are enrolled", value=active
    )
    # Nothing here waits to become active: a pod is enrolled at once, or refused.
    yield GaugeMetricFamily("workload_manager_pending_proxy_count", "pods waiting", value=0)
    yield CounterMetricFamily(
        "workload_manager_proxies_started", "pods enrolled so far", value=started
    )
    yield CounterMetricFamily(
        "workload_manager_proxies_stopped", "pods un-enrolled so far", value=stopped
    )


def build(component: str, version: str) -> Iterable[Metric]:
    """What runs here."""
    made = GaugeMetricFamily("istio_build", "what runs", labels=["component", "tag"])
    made.add_metric([component, version], 1)
    yield made
