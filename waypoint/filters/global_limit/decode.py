"""Envoy's RateLimit filter and RateLimitPerRoute as settings."""

from __future__ import annotations

from typing import Any

from envoy.extensions.filters.http.ratelimit.v3 import rate_limit_pb2 as pb

from waypoint.decode.edits import addition
from waypoint.decode.fields import each, final_status, fraction, only
from waypoint.decode.limits import (
    bounded_stage,
    host_limits,
    rate_limits,
    refusal_status,
    tells_limits,
)
from waypoint.decode.services import grpc_service, limit, only_v3
from waypoint.errors import RouteError
from waypoint.filters.global_limit.filter import GlobalLimit
from waypoint.filters.global_limit.settings import Override, Settings
from waypoint.filters.registry import Kind
from waypoint.routing.conditions import ALL
from waypoint.routing.edits import Edits

TYPE = pb.RateLimit.DESCRIPTOR.full_name
#: Seconds, where nothing is said.
TIMEOUT = 0.02
KNOWN = {
    "domain", "stage", "request_type", "timeout", "failure_mode_deny",
    "rate_limited_as_resource_exhausted", "rate_limit_service",
    "enable_x_ratelimit_headers", "disable_x_envoy_ratelimited_header",
    "rate_limited_status", "response_headers_to_add", "status_on_error", "stat_prefix",
    "filter_enabled", "filter_enforced", "rate_limits",
}  # fmt: skip


def build(name: str, value: bytes, at: str) -> GlobalLimit:
    """Decode a RateLimit; raises RouteError."""
    message = pb.RateLimit.FromString(value)
    only(message, KNOWN, at)
    if not message.domain:
        raise RouteError(f"{at}domain is missing")
    if message.request_type not in {"", "both"}:
        raise RouteError(
            f"{at}request_type {message.request_type!r}: requests are all alike; leave it out"
        )
    where = f"{at}rate_limit_service."
    only(message.rate_limit_service, {"grpc_service", "transport_api_version"}, where)
    only_v3(message.rate_limit_service.transport_api_version, where)
    timeout = limit(message, TIMEOUT, at)
    service = grpc_service(
        message.rate_limit_service.grpc_service, timeout, f"{where}grpc_service."
    )
    shares = {"filter_enabled": ALL, "filter_enforced": ALL}
    for field in shares:
        if message.HasField(field):
            shares[field] = fraction(getattr(message, field), f"{at}{field}.")
    add = each(message.response_headers_to_add, f"{at}response_headers_to_add", addition)
    settings = Settings(
        message.domain,
        service,
        bounded_stage(message.stage, at),
        message.failure_mode_deny,
        final_status(message.status_on_error.code or 500, f"{at}status_on_error.code"),
        refusal_status(message.rate_limited_status, f"{at}rate_limited_status."),
        message.rate_limited_as_resource_exhausted,
        tells_limits(message.enable_x_ratelimit_headers, at),
        not message.disable_x_envoy_ratelimited_header,
        Edits(add=add),
        rate_limits(message.rate_limits, at),
        shares["filter_enabled"],
        shares["filter_enforced"],
    )
    return GlobalLimit(name, settings)


def override(value: bytes, at: str) -> Any:
    """Decode a RateLimitPerRoute; raises RouteError."""
    message = pb.RateLimitPerRoute.FromString(value)
    only(message, {"vh_rate_limits", "rate_limits", "domain"}, at)
    host = host_limits(message.vh_rate_limits, at)
    return Override(host, rate_limits(message.rate_limits, at), message.domain)


KIND = Kind(build, {pb.RateLimitPerRoute.DESCRIPTOR.full_name: override})
