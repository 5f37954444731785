"""What a cluster bears: outlier detection and circuit breakers."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection
from envoy.config.core.v3.base_pb2 import RoutingPriority

from waypoint.decode.fields import bounded, only, seconds, wrapped
from waypoint.errors import RouteError
from waypoint.resilience.breakers import BreakerSettings, Thresholds
from waypoint.resilience.budget import RetryBudget
from waypoint.resilience.outlier import OutlierSettings

UNEJECT = "successful_active_health_check_uneject_host"
DURATIONS = {"interval", "base_ejection_time", "max_ejection_time", "max_ejection_time_jitter"}
#: Fields of the message that are named alike here.
OUTLIER = {field.name for field in fields(OutlierSettings)} - {"uneject_on_healthy_check"}
#: Those that are shares in per cent.
PERCENT = {name for name in OUTLIER if name.startswith("enforcing_")} | {
    "max_ejection_percent", "failure_percentage_threshold",
}  # fmt: skip
THRESHOLDS = {
    "priority", "max_connections", "max_pending_requests", "max_requests", "max_retries",
    "retry_budget", "track_remaining",
}  # fmt: skip
#: Envoy's, for clusters that say nothing.
ENVOY = Thresholds(1024, 1024, 1024, 3)


def outlier(message: OutlierDetection, at: str) -> OutlierSettings:
    """Decode an OutlierDetection."""
    only(message, OUTLIER | {UNEJECT}, at)
    found: dict[str, Any] = {}
    for name in sorted(OUTLIER):
        if name == "split_external_local_origin_errors":
            found[name] = message.split_external_local_origin_errors
        elif name in DURATIONS:
            positive = name != "max_ejection_time_jitter"
            length = seconds(message, name, at, positive=positive)
            found |= {} if length is None else {name: length}
        elif message.HasField(name):
            value = found[name] = getattr(message, name).value
            if name in PERCENT:
                bounded(value, 0, 100, f"{at}{name}")
    base = found.get("base_ejection_time", OutlierSettings().base_ejection_time)
    longest = found.setdefault("max_ejection_time", max(base, 300.0))
    if longest < base:
        raise RouteError(f"{at}max_ejection_time {longest} s is below base_ejection_time")
    return OutlierSettings(**found, uneject_on_healthy_check=wrapped(message, UNEJECT, True))


def breakers(message: CircuitBreakers, at: str) -> BreakerSettings:
    """Decode CircuitBreakers; of several for one priority, the first counts."""
    only(message, {"thresholds"}, at)
    found: dict[int, Thresholds] = {}
    for number, entry in enumerate(message.thresholds):
        if entry.priority not in {RoutingPriority.DEFAULT, RoutingPriority.HIGH}:
            raise RouteError(f"{at}thresholds[{number}].priority {entry.priority}")
        found.setdefault(entry.priority, thresholds(entry, f"{at}thresholds[{number}]."))
    return BreakerSettings(
        found.get(RoutingPriority.DEFAULT, ENVOY), found.get(RoutingPriority.HIGH, ENVOY)
    )


def thresholds(message: CircuitBreakers.Thresholds, at: str) -> Thresholds:
    """Decode one priority's thresholds."""
    only(message, THRESHOLDS, at)
    budget = None
    if message.HasField("retry_budget"):
        options = message.retry_budget
        only(options, {"budget_percent", "min_retry_concurrency"}, f"{at}retry_budget.")
        percent = options.budget_percent.value if options.HasField("budget_percent") else 20.0
        bounded(percent, 0, 100, f"{at}retry_budget.budget_percent")
        budget = RetryBudget(percent, wrapped(options, "min_retry_concurrency", 3))
    return Thresholds(
        connections=wrapped(message, "max_connections", ENVOY.connections),
        pending=wrapped(message, "max_pending_requests", ENVOY.pending),
        requests=wrapped(message, "max_requests", ENVOY.requests),
        retries=wrapped(message, "max_retries", ENVOY.retries),
        budget=budget,
        track_remaining=message.track_remaining,
    )
