"""The Cluster message itself."""

from __future__ import annotations

from collections.abc import Mapping

from envoy.config.cluster.v3.cluster_pb2 import Cluster, UpstreamConnectionOptions
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from google.protobuf.struct_pb2 import Struct

from waypoint.cluster_settings import NO_LABELS, ClusterSettings, HttpSettings, Keepalive
from waypoint.decode.fields import bounded, only, parsed, seconds, unpacked, wrapped
from waypoint.decode_cluster.balancing import locality_setting, panic, policy
from waypoint.decode_cluster.health import health_checks
from waypoint.decode_cluster.http import http_settings
from waypoint.decode_cluster.resilience import breakers, outlier
from waypoint.errors import RouteError

TYPE_URL = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
#: Envoy's, for clusters that say nothing.
CONNECT_TIMEOUT = 5.0
#: What may be set. Some of it decides nothing here: endpoints come from the mesh's
#: state whatever is said of EDS, they go when they leave it whatever their health, and
#: names are for statistics.
CLUSTER = {
    "name", "alt_stat_name", "type", "eds_cluster_config", "ignore_health_on_host_removal",
    "connect_timeout", "lb_policy", "load_balancing_policy", "ring_hash_lb_config",
    "maglev_lb_config", "least_request_lb_config", "round_robin_lb_config",
    "common_lb_config", "max_requests_per_connection", "circuit_breakers",
    "outlier_detection", "health_checks", "typed_extension_protocol_options",
    "upstream_connection_options", "metadata",
}  # fmt: skip
#: Cluster.DiscoveryType: STATIC, which is what isn't said, and EDS.
TYPES = {0, 3}
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
SUBSET = "tandem.io/subset"
LOCALITY = "tandem.io/locality"
MOST_SECONDS = 1 << 31


def decode_cluster(value: bytes) -> ClusterSettings:
    """Decode a serialized Cluster; raises RouteError."""
    message = parsed(Cluster, value)
    only(message, CLUSTER, "")
    if message.WhichOneof("cluster_discovery_type") == "type" and message.type not in TYPES:
        raise RouteError(f"type {message.type} is not supported")
    timeout = seconds(message, "connect_timeout", "", positive=True)
    connections = message.upstream_connection_options
    return ClusterSettings(
        policy=policy(message),
        panic=panic(message.common_lb_config, "common_lb_config."),
        locality=locality_setting(riding(message, LOCALITY), f"metadata[{LOCALITY}]."),
        outlier=outlier(message.outlier_detection, "outlier_detection.")
        if message.HasField("outlier_detection")
        else None,
        breakers=breakers(message.circuit_breakers, "circuit_breakers."),
        checks=health_checks(message),
        connect_timeout=CONNECT_TIMEOUT if timeout is None else timeout,
        http=http(message),
        keepalive=keepalive(connections, "upstream_connection_options."),
        subset=subset(riding(message, SUBSET)),
    )


def riding(message: Cluster, name: str) -> Struct | None:
    """Metadata of ours; that of others is for other filters."""
    only(message.metadata, {"filter_metadata", "typed_filter_metadata"}, "metadata.")
    found: Struct | None = message.metadata.filter_metadata.get(name)
    return found


def subset(labels: Struct | None) -> Mapping[str, str]:
    """The labels that endpoints of a subset have."""
    if labels is None:
        return NO_LABELS
    found: dict[str, str] = {}
    for name, value in labels.items():
        if not isinstance(value, str):
            raise RouteError(f"metadata[{SUBSET}].{name} {value!r} is no string")
        found[name] = value
    return found


def http(message: Cluster) -> HttpSettings:
    """How HTTP is spoken."""
    most = wrapped(message, "max_requests_per_connection", 0)
    for name, value in message.typed_extension_protocol_options.items():
        at = f"typed_extension_protocol_options[{name}]."
        if name != HTTP_OPTIONS:
            raise RouteError(f"{at}{value.type_url} is not supported")
        return http_settings(unpacked(value, HttpProtocolOptions, at), most, at)
    return HttpSettings(max_requests=most)


def keepalive(message: UpstreamConnectionOptions, at: str) -> Keepalive | None:
    """TCP keepalive, None: it is off."""
    only(message, {"tcp_keepalive"}, at)
    if not message.HasField("tcp_keepalive"):
        return None
    options = message.tcp_keepalive
    only(options, {"keepalive_probes", "keepalive_time", "keepalive_interval"}, at)
    found = [
        wrapped(options, name, None)
        for name in ("keepalive_probes", "keepalive_time", "keepalive_interval")
    ]
    for number in found:
        if number is not None:
            bounded(number, 1, MOST_SECONDS, f"{at}tcp_keepalive")
    return Keepalive(*found)
