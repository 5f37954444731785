"""How a cluster balances: lb_policy and its options, or load_balancing_policy."""

from __future__ import annotations

from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster, LoadBalancingPolicy
from envoy.extensions.load_balancing_policies.common.v3.common_pb2 import LocalityLbConfig
from envoy.extensions.load_balancing_policies.least_request.v3.least_request_pb2 import (
    LeastRequest,
)
from envoy.extensions.load_balancing_policies.maglev.v3.maglev_pb2 import Maglev
from envoy.extensions.load_balancing_policies.random.v3.random_pb2 import Random
from envoy.extensions.load_balancing_policies.ring_hash.v3.ring_hash_pb2 import RingHash
from envoy.extensions.load_balancing_policies.round_robin.v3.round_robin_pb2 import RoundRobin
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from waypoint.balancing.locality import Distribute, LocalitySetting
from waypoint.balancing.policies import (
    LeastRequestPolicy,
    MaglevPolicy,
    Panic,
    Policy,
    RandomPolicy,
    RingHashPolicy,
    RoundRobinPolicy,
)
from waypoint.balancing.slow_start import SlowStart
from waypoint.decode.fields import bounded, only, seconds, unpacked, wrapped
from waypoint.errors import RouteError

LB = Cluster.LbPolicy
#: update_merge_window decides nothing: pushes come merged.
COMMON = {
    "healthy_panic_threshold", "locality_weighted_lb_config", "zone_aware_lb_config",
    "update_merge_window",
}  # fmt: skip
SLOW_START = {"slow_start_window", "aggression", "min_weight_percent"}
LEAST = {"choice_count", "active_request_bias", "slow_start_config"}
RING_MOST = 8 * 1024 * 1024
MAGLEV_MOST = 5_000_011
LOCALITY_KEYS = {"enabled", "distribute", "failover", "failoverPriority"}


def policy(message: Cluster) -> Policy:
    """The policy; load_balancing_policy goes before lb_policy."""
    if message.HasField("load_balancing_policy"):
        return typed_policy(message.load_balancing_policy, "load_balancing_policy.")
    match message.lb_policy:
        case LB.ROUND_ROBIN:
            options: Any = message.round_robin_lb_config
            only(options, {"slow_start_config"}, "round_robin_lb_config.")
            return RoundRobinPolicy(slow_start(options, "round_robin_lb_config."))
        case LB.LEAST_REQUEST:
            return least_request(message.least_request_lb_config, "least_request_lb_config.")
        case LB.RANDOM:
            return RandomPolicy()
        case LB.RING_HASH:
            return ring_hash(message.ring_hash_lb_config, "ring_hash_lb_config.", xxhash=0)
        case LB.MAGLEV:
            return maglev(message.maglev_lb_config, "maglev_lb_config.")
        case other:
            raise RouteError(f"lb_policy {other} is not supported")


def typed_policy(message: LoadBalancingPolicy, at: str) -> Policy:
    """The first of the policies that is known here, as Envoy takes it."""
    for number, entry in enumerate(message.policies):
        value = entry.typed_extension_config.typed_config
        below = f"{at}policies[{number}]."
        match value.TypeName():
            case "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin":
                robin = unpacked(value, RoundRobin, below)
                only(robin, {"slow_start_config", "locality_lb_config"}, below)
                by_locality(robin.locality_lb_config, below)
                return RoundRobinPolicy(slow_start(robin, below))
            case "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest":
                least = unpacked(value, LeastRequest, below)
                by_locality(least.locality_lb_config, below)
                return least_request(least, below)
            case "envoy.extensions.load_balancing_policies.random.v3.Random":
                choice = unpacked(value, Random, below)
                only(choice, {"locality_lb_config"}, below)
                by_locality(choice.locality_lb_config, below)
                return RandomPolicy()
            case "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash":
                return ring_hash(unpacked(value, RingHash, below), below, xxhash=1)
            case "envoy.extensions.load_balancing_policies.maglev.v3.Maglev":
                return maglev(unpacked(value, Maglev, below), below)
    names = [p.typed_extension_config.typed_config.type_url for p in message.policies]
    raise RouteError(f"{at}policies: none of {names} is supported")


def by_locality(message: LocalityLbConfig, at: str) -> None:
    """Localities count wherever somebody weighs them; zones by themselves don't."""
    only(message, {"locality_weighted_lb_config"}, f"{at}locality_lb_config.")


def least_request(message: Any, at: str) -> LeastRequestPolicy:
    """Either kind of least-request options."""
    only(message, LEAST | {"selection_method", "locality_lb_config"}, at)
    choices = wrapped(message, "choice_count", 2)
    bounded(choices, 2, 1 << 16, f"{at}choice_count")
    bias = 1.0
    if message.HasField("active_request_bias"):
        # There is no runtime here, so the default is in force.
        bias = message.active_request_bias.default_value
        bounded(bias, 0, 1000, f"{at}active_request_bias")
    full = getattr(message, "selection_method", 0) == LeastRequest.SelectionMethod.FULL_SCAN
    return LeastRequestPolicy(choices, bias, full, slow_start(message, at))


def slow_start(message: Any, at: str) -> SlowStart | None:
    """Slow start, None: it is off."""
    if not message.HasField("slow_start_config"):
        return None
    config = message.slow_start_config
    at += "slow_start_config."
    only(config, SLOW_START, at)
    window = seconds(config, "slow_start_window", at)
    if not window:
        return None
    aggression = 1.0
    if config.HasField("aggression"):
        aggression = config.aggression.default_value
        bounded(aggression, 1e-6, 1e6, f"{at}aggression")
    floor = config.min_weight_percent.value if config.HasField("min_weight_percent") else 10.0
    bounded(floor, 0, 100, f"{at}min_weight_percent")
    return SlowStart(window, aggression, floor)


def ring_hash(message: Any, at: str, *, xxhash: int) -> RingHashPolicy:
    """Either kind of ring-hash options; xxhash: the number of that function there."""
    known = {"hash_function", "minimum_ring_size", "maximum_ring_size"}
    only(message, known | {"locality_weighted_lb_config"}, at)
    if message.hash_function not in {0, xxhash, xxhash + 1}:
        raise RouteError(f"{at}hash_function {message.hash_function} is not supported")
    least = wrapped(message, "minimum_ring_size", 1024)
    most = wrapped(message, "maximum_ring_size", RING_MOST)
    bounded(most, 1, RING_MOST, f"{at}maximum_ring_size")
    bounded(least, 1, most, f"{at}minimum_ring_size")
    return RingHashPolicy(least, most, message.hash_function == xxhash + 1)


def maglev(message: Any, at: str) -> MaglevPolicy:
    """Either kind of maglev options."""
    only(message, {"table_size", "locality_weighted_lb_config"}, at)
    size = wrapped(message, "table_size", 65537)
    bounded(size, 2, MAGLEV_MOST, f"{at}table_size")
    if not is_prime(size):
        raise RouteError(f"{at}table_size {size} is not prime")
    return MaglevPolicy(size)


def is_prime(number: int) -> bool:
    """Whether a number from 2 on is a prime."""
    divisors = range(3, int(number**0.5) + 1, 2)
    return number == 2 or (number % 2 == 1 and all(number % d for d in divisors))


def panic(message: Cluster.CommonLbConfig, at: str) -> Panic:
    """When health stops to count."""
    only(message, COMMON, at)
    zones = message.zone_aware_lb_config
    only(zones, {"fail_traffic_on_panic"}, f"{at}zone_aware_lb_config.")
    threshold = 50.0
    if message.HasField("healthy_panic_threshold"):
        threshold = message.healthy_panic_threshold.value
        bounded(threshold, 0, 100, f"{at}healthy_panic_threshold")
    return Panic(threshold, zones.fail_traffic_on_panic)


def locality_setting(message: Struct | None, at: str) -> LocalitySetting | None:
    """Istio's localityLbSetting as it is written in YAML, None: localities don't count."""
    if message is None:
        return None
    said: dict[str, Any] = MessageToDict(message)
    for name in said.keys() - LOCALITY_KEYS:
        raise RouteError(f"{at}{name} is not supported")
    if not said.get("enabled", True):
        return None
    try:
        distribute = [
            Distribute(str(entry["from"]), tuple(sorted(shares(entry["to"]), key=specific)))
            for entry in said.get("distribute", [])
        ]
        failover = [(str(e["from"]), str(e["to"])) for e in said.get("failover", [])]
        labels = [str(label) for label in said.get("failoverPriority", [])]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RouteError(f"{at}not a localityLbSetting: {error}") from error
    return LocalitySetting(tuple(distribute), tuple(labels), tuple(failover))


def shares(message: Any) -> list[tuple[str, int]]:
    """Localities and their weights."""
    return [(name, int(weight)) for name, weight in message.items()]


def specific(rule: tuple[str, int]) -> tuple[bool, int, str]:
    """The order of rules: the most specific first, since a map has none of its own."""
    return rule[0].endswith("*"), -rule[0].count("/"), rule[0]
