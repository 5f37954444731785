"""Where requests go and in what way: Envoy's RouteAction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from envoy.config.route.v3 import route_components_pb2

from waypoint.decode import edits
from waypoint.decode.fields import each, fraction, only, seconds, text
from waypoint.decode.hashing import hash_policy
from waypoint.decode.limits import rate_limits
from waypoint.decode.retry import retry_policy
from waypoint.decode.rewrites import host_rewrite, path_rewrite
from waypoint.errors import RouteError
from waypoint.resilience.retry import RetryPolicy
from waypoint.routing.actions import Forward, Mirror, WeightedCluster
from waypoint.routing.conditions import ALL
from waypoint.routing.limits import RateLimit

#: Envoy's, for routes that say nothing.
DEFAULT_TIMEOUT = 15.0
ACTION = {
    "cluster", "weighted_clusters", "timeout", "cluster_not_found_response_code",
    "idle_timeout", "max_stream_duration", "max_grpc_timeout", "retry_policy",
    "request_mirror_policies", "hash_policy", "prefix_rewrite", "regex_rewrite",
    "host_rewrite_literal", "host_rewrite_header", "host_rewrite_path_regex",
    "append_x_forwarded_host", "upgrade_configs", "rate_limits", "include_vh_rate_limits",
}  # fmt: skip
#: RouteAction.ClusterNotFoundResponseCode → status.
NOT_FOUND = {0: 503, 1: 404, 2: 500}
WEIGHTED = {"clusters", "total_weight"}
CLUSTER_WEIGHT = {"name", "weight", "host_rewrite_literal"} | edits.FIELDS
#: trace_sampled decides nothing here.
MIRROR = {"cluster", "runtime_fraction", "trace_sampled", "disable_shadow_host_suffix_append"}


@dataclass(frozen=True, slots=True)
class Inherited:
    """What actions have from their virtual host or configuration, unless they say it."""

    retry: RetryPolicy | None = None
    mirrors: tuple[Mirror, ...] = ()
    limits: tuple[RateLimit, ...] = ()


def forward(
    message: route_components_pb2.RouteAction,
    match: route_components_pb2.RouteMatch,
    inherited: Inherited,
    at: str,
) -> Forward:
    """Decode a RouteAction; match: of its route."""
    only(message, ACTION, at)
    match message.WhichOneof("cluster_specifier"):
        case "cluster":
            clusters: tuple[WeightedCluster, ...] = (WeightedCluster(message.cluster, 1),)
        case "weighted_clusters":
            clusters = weighted_clusters(message.weighted_clusters, f"{at}weighted_clusters.")
        case _:
            raise RouteError(f"{at}cluster_specifier is missing")
    if (not_found := NOT_FOUND.get(message.cluster_not_found_response_code)) is None:
        code = message.cluster_not_found_response_code
        raise RouteError(f"{at}cluster_not_found_response_code {code} is not known here")
    retry = inherited.retry
    if message.HasField("retry_policy"):
        retry = retry_policy(message.retry_policy, f"{at}retry_policy.")
    timeout = seconds(message, "timeout", at)
    limit, grpc_timeout = stream_limits(message, at)
    return Forward(
        clusters=clusters,
        timeout=DEFAULT_TIMEOUT if timeout is None else timeout or None,
        not_found=not_found,
        idle_timeout=seconds(message, "idle_timeout", at),
        stream_limit=limit,
        max_grpc_timeout=grpc_timeout,
        retry=retry,
        mirrors=mirrors(message.request_mirror_policies, at) or inherited.mirrors,
        hash_policy=each(message.hash_policy, f"{at}hash_policy", hash_policy),
        path=path_rewrite(message, match, at),
        host=host_rewrite(message, at),
        tell_forwarded_host=message.append_x_forwarded_host,
        upgrades=frozenset(each(message.upgrade_configs, f"{at}upgrade_configs", upgrade)),
        limits=rate_limits(message.rate_limits, at),
        host_limits=inherited.limits,
        include_host_limits=message.include_vh_rate_limits.value,
    )


def stream_limits(
    message: route_components_pb2.RouteAction, at: str
) -> tuple[float | None, float | None]:
    """How long a stream may last, and what grpc-timeout may ask for, at most."""
    if not message.HasField("max_stream_duration"):
        return None, seconds(message, "max_grpc_timeout", at)
    if message.HasField("max_grpc_timeout"):
        raise RouteError(f"{at}max_grpc_timeout is set beside max_stream_duration")
    limits = message.max_stream_duration
    only(
        limits, {"max_stream_duration", "grpc_timeout_header_max"}, f"{at}max_stream_duration."
    )
    where = f"{at}max_stream_duration."
    return (
        seconds(limits, "max_stream_duration", where),
        seconds(limits, "grpc_timeout_header_max", where),
    )


def weighted_clusters(
    message: route_components_pb2.WeightedCluster, at: str
) -> tuple[WeightedCluster, ...]:
    """Decode weights; their sum must be what total_weight says, where it says one."""
    only(message, WEIGHTED, at)
    clusters = each(message.clusters, f"{at}clusters", weighted_cluster)
    total = sum(cluster.weight for cluster in clusters)
    if not 0 < total < 1 << 32:
        raise RouteError(
            f"{at}clusters: the weights add up to {total}, which is not in 1…4294967295"
        )
    if message.HasField("total_weight") and message.total_weight.value != total:
        stated = message.total_weight.value
        raise RouteError(f"{at}total_weight is {stated}, but the weights add up to {total}")
    return tuple(cluster for cluster in clusters if cluster.weight)


def weighted_cluster(message: Any, at: str) -> WeightedCluster:
    """Decode a ClusterWeight."""
    only(message, CLUSTER_WEIGHT, at)
    request, response = edits.edits(message, at)
    authority = text(message.host_rewrite_literal, f"{at}host_rewrite_literal") or None
    return WeightedCluster(message.name, message.weight.value, request, response, authority)


def mirrors(messages: Iterable[Any], at: str) -> tuple[Mirror, ...]:
    """Decode RequestMirrorPolicies, those left out that never happen."""
    decoded = each(messages, f"{at}request_mirror_policies", mirror)
    return tuple(each for each in decoded if each.fraction.numerator)


def mirror(message: route_components_pb2.RouteAction.RequestMirrorPolicy, at: str) -> Mirror:
    """Decode a RequestMirrorPolicy."""
    only(message, MIRROR, at)
    if not message.cluster:
        raise RouteError(f"{at}cluster is missing")
    share = ALL
    if message.HasField("runtime_fraction"):
        share = fraction(message.runtime_fraction, f"{at}runtime_fraction.")
    return Mirror(message.cluster, share, not message.disable_shadow_host_suffix_append)


def upgrade(message: route_components_pb2.RouteAction.UpgradeConfig, at: str) -> str:
    """Decode an UpgradeConfig that allows something."""
    only(message, {"upgrade_type", "enabled"}, at)
    if message.HasField("enabled") and not message.enabled.value:
        raise RouteError(f"{at}enabled (false) is not supported")
    kind: str = message.upgrade_type
    return kind.lower()
