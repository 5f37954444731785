"""Tunnels as Prometheus families, and for the admin page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from daemon.tunnel.bounds import Bound
from daemon.tunnel.server import TunnelServer


def collect(server: TunnelServer) -> Iterable[Metric]:
    """What is open, and what was refused or failed, from this node agent's start on."""
    pool = server.outbound.pool
    connections = GaugeMetricFamily(
        "tandem_hbone_connections", "open HBONE connections", labels=["direction"]
    )
    connections.add_metric(["outbound"], pool.total)
    connections.add_metric(["inbound"], server.connections)
    made = CounterMetricFamily(
        "tandem_hbone_connects", "outbound HBONE connections, by result", labels=["result"]
    )
    for result, count in (
        ("success", pool.opened),
        ("failure", pool.failed),
        ("no_room", pool.refused),
        ("evicted", pool.evicted),
    ):
        made.add_metric([result], count)
    refused = CounterMetricFamily(
        "tandem_tunnels_refused",
        "connections and tunnels refused, by where and why",
        labels=["direction", "reason"],
    )
    for bound in Bound:
        refused.add_metric(["inbound", bound.name.lower()], server.refused[bound])
    for reason, count in server.outbound.refused.items():
        refused.add_metric(["outbound", reason], count)
    return connections, made, refused


def dump(server: TunnelServer) -> dict[str, Any]:
    """The same, and what each workload's policies say, JSON-able."""
    pool = server.outbound.pool
    return {
        "pods": sorted(pod.uid for pod in server.pods),
        "outbound": {
            "connections": pool.total,
            "opened": pool.opened,
            "failed": pool.failed,
            "evicted": pool.evicted,
            "noRoom": pool.refused,
            "refused": dict(server.outbound.refused),
        },
        "inbound": {
            "connections": server.connections,
            "tunnels": server.tunnels,
            "refused": {bound.value: count for bound, count in server.refused.items()},
        },
        "authorization": dict(server.authorizer.dump()),
    }
