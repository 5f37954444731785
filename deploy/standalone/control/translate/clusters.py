"""How a service is reached, to Envoy's Clusters: one per port and subset."""

from __future__ import annotations

from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection
from envoy.config.core.v3.protocol_pb2 import HttpProtocolOptions as CommonOptions
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions

from deploy.standalone.control.extensionapi import ConfigPatch
from deploy.standalone.control.trafficapi import (
    Balancer,
    Hashing,
    LocalityRule,
    Outliers,
    Pool,
    TrafficPolicy,
    Warmup,
)
from deploy.standalone.control.translate.actions import duration
from deploy.standalone.control.translate.attached import cluster_name
from deploy.standalone.control.translate.destinations import Destination
from deploy.standalone.control.translate.merging import merge
from deploy.standalone.control.translate.ports import Port, app_protocol
from proto import workload_pb2 as pb

#: Istio's.
CONNECT_TIMEOUT = 10.0
UNBOUNDED = (1 << 32) - 1
POLICIES = {
    "LEAST_REQUEST": Cluster.LEAST_REQUEST,
    "RANDOM": Cluster.RANDOM,
    "ROUND_ROBIN": Cluster.ROUND_ROBIN,
}
#: Where nobody says anything.
PLAIN = Destination(TrafficPolicy(), {})
SUBSET = "tandem.io/subset"
LOCALITY = "tandem.io/locality"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def clusters(
    hostname: str,
    ports: tuple[Port, ...],
    destination: Destination | None,
    patches: tuple[ConfigPatch, ...],
) -> dict[str, Any]:
    """Every port's cluster of which something is said, and those of the subsets, by name.

    patches: EnvoyFilters' for this service.
    """
    found = {}
    own = destination or PLAIN
    for port in ports:
        for subset in ("", *own.subsets):
            meant = [
                patch
                for patch in patches
                if patch.match.port in {0, port.port} and patch.match.subset in {"", subset}
            ]
            if destination is None and not meant:
                continue
            message = cluster(hostname, port, own, subset)
            for patch in meant:
                merge(message, Cluster.FromString(patch.value))
            found[message.name] = message
    return found


def cluster(hostname: str, port: Port, destination: Destination, subset: str) -> Any:
    """One cluster. What says nothing has Istio's defaults, which bound nothing."""
    policy = destination.at(port.port, subset)
    pool = policy.pool or Pool()
    timeout = CONNECT_TIMEOUT if pool.connect_timeout is None else pool.connect_timeout
    message = Cluster(
        name=cluster_name(port.port, hostname, subset), connect_timeout=duration(timeout)
    )
    add_balancer(message, policy.balancer or Balancer())
    add_bounds(message, pool)
    if policy.outliers is not None:
        add_outliers(message, policy.outliers)
    options = http_options(port, pool)
    if options.ByteSize():
        message.typed_extension_protocol_options[HTTP_OPTIONS].Pack(options, deterministic=True)
    if subset:
        labels = destination.subsets[subset].labels
        message.metadata.filter_metadata[SUBSET].update(dict(sorted(labels.items())))
    return message


def add_balancer(message: Any, balancer: Balancer) -> None:
    """How an endpoint is chosen."""
    message.lb_policy = POLICIES[balancer.simple]
    if balancer.hashing is not None:
        add_hashing(message, balancer.hashing)
    elif balancer.warmup is not None:
        config = (
            message.round_robin_lb_config
            if balancer.simple == "ROUND_ROBIN"
            else message.least_request_lb_config
        )
        add_warmup(config.slow_start_config, balancer.warmup)
    if balancer.locality is not None and balancer.locality.enabled:
        message.metadata.filter_metadata[LOCALITY].update(locality(balancer.locality))


def add_hashing(message: Any, hashing: Hashing) -> None:
    """A ring, or a table."""
    if hashing.maglev:
        message.lb_policy = Cluster.MAGLEV
        if hashing.size:
            message.maglev_lb_config.table_size.value = hashing.size
        return
    message.lb_policy = Cluster.RING_HASH
    if hashing.size:
        message.ring_hash_lb_config.minimum_ring_size.value = hashing.size


def add_warmup(message: Any, warmup: Warmup) -> None:
    """Slow start."""
    message.slow_start_window.CopyFrom(duration(warmup.duration))
    message.aggression.default_value = warmup.aggression
    message.aggression.runtime_key = "aggression"
    message.min_weight_percent.value = warmup.minimum_percent


def locality(rule: LocalityRule) -> dict[str, Any]:
    """Istio's localityLbSetting as it is written: istiod does with endpoints what it says."""
    found: dict[str, Any] = {}
    if rule.distribute:
        found["distribute"] = [
            {"from": place, "to": dict(shares)} for place, shares in rule.distribute
        ]
    if rule.failover:
        found["failover"] = [{"from": place, "to": to} for place, to in rule.failover]
    if rule.priority:
        found["failoverPriority"] = list(rule.priority)
    return found


def add_bounds(message: Any, pool: Pool) -> None:
    """Circuit breakers, and keep-alive."""
    threshold = message.circuit_breakers.thresholds.add()
    threshold.max_connections.value = pool.connections or UNBOUNDED
    threshold.max_pending_requests.value = pool.pending or UNBOUNDED
    threshold.max_requests.value = pool.requests or UNBOUNDED
    threshold.max_retries.value = pool.retries or UNBOUNDED
    if pool.keepalive is not None:
        keepalive = message.upstream_connection_options.tcp_keepalive
        for name, value in (
            ("keepalive_probes", pool.keepalive.probes),
            ("keepalive_time", round(pool.keepalive.time)),
            ("keepalive_interval", round(pool.keepalive.interval)),
        ):
            if value:
                getattr(keepalive, name).value = value
        keepalive.SetInParent()


def http_options(port: Port, pool: Pool) -> Any:
    """How HTTP is spoken to endpoints, and how long connections last."""
    message = HttpProtocolOptions()
    common = CommonOptions()
    idle = pool.idle_timeout if pool.idle_timeout is not None else pool.tcp_idle_timeout
    if idle is not None:
        common.idle_timeout.CopyFrom(duration(idle))
    if pool.requests_per_connection:
        common.max_requests_per_connection.value = pool.requests_per_connection
    if pool.max_duration is not None:
        common.max_connection_duration.CopyFrom(duration(pool.max_duration))
    if common.ByteSize():
        message.common_http_protocol_options.CopyFrom(common)
    said = app_protocol(port)
    if pool.client_protocol or (said == pb.UNKNOWN and not pool.upgrade):
        options = message.use_downstream_protocol_config
        options.http2_protocol_options.SetInParent()
        h2 = options.http2_protocol_options
    elif pool.upgrade or said in {pb.HTTP2, pb.GRPC}:
        h2 = message.explicit_http_config.http2_protocol_options
        h2.SetInParent()
    else:
        return message
    if pool.streams:
        h2.max_concurrent_streams.value = pool.streams
    return message


def add_outliers(message: Any, outliers: Outliers) -> None:
    """Outlier detection as istiod writes it: success rates decide nothing."""
    found = OutlierDetection()
    found.enforcing_success_rate.value = 0
    for name, count in (
        ("consecutive_5xx", outliers.consecutive_5xx),
        ("consecutive_gateway_failure", outliers.consecutive_gateway),
    ):
        if count is not None:
            getattr(found, name).value = count
            getattr(found, f"enforcing_{name}").value = 100 if count else 0
    if outliers.split_local:
        found.split_external_local_origin_errors = True
        found.enforcing_local_origin_success_rate.value = 0
        if outliers.consecutive_local:
            found.consecutive_local_origin_failure.value = outliers.consecutive_local
            found.enforcing_consecutive_local_origin_failure.value = 100
    if outliers.interval is not None:
        found.interval.CopyFrom(duration(outliers.interval))
    if outliers.ejection is not None:
        found.base_ejection_time.CopyFrom(duration(outliers.ejection))
    if outliers.max_percent is not None:
        found.max_ejection_percent.value = outliers.max_percent
    message.outlier_detection.CopyFrom(found)
    message.common_lb_config.healthy_panic_threshold.value = outliers.min_health_percent
