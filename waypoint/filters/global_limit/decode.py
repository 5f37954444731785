"""Envoy's RateLimit filter and RateLimitPerRoute as settings."""

from __future__ import annotations

from typing import Any

from envoy.config.core.v3.config_source_pb2 import AUTO, V3
from envoy.extensions.filters.http.ratelimit.v3 import rate_limit_pb2 as pb

from waypoint.decode.edits import addition
from waypoint.decode.fields import each, fraction, only
from waypoint.decode.limits import MOST_STAGE, rate_limits
from waypoint.decode.services import grpc_service, limit
from waypoint.errors import RouteError
from waypoint.filters.descriptors import HostLimits
from waypoint.filters.global_limit.filter import GlobalLimit
from waypoint.filters.global_limit.settings import Override, Settings
from waypoint.filters.registry import Kind
from waypoint.routing.conditions import ALL
from waypoint.routing.edits import Edits

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
    if message.stage > MOST_STAGE:
        raise RouteError(f"{at}stage {message.stage} is above {MOST_STAGE}")
    if message.request_type not in {"", "both"}:
        raise RouteError(
            f"{at}request_type {message.request_type!r}: a waypoint's requests are all alike"
        )
    if message.enable_x_ratelimit_headers not in {
        pb.RateLimit.OFF,
        pb.RateLimit.DRAFT_VERSION_03,
    }:
        raise RouteError(f"{at}enable_x_ratelimit_headers is not known here")
    where = f"{at}rate_limit_service."
    only(message.rate_limit_service, {"grpc_service", "transport_api_version"}, where)
    if message.rate_limit_service.transport_api_version not in {AUTO, V3}:
        raise RouteError(f"{where}transport_api_version is not V3")
    timeout = limit(message, TIMEOUT, at)
    service = grpc_service(
        message.rate_limit_service.grpc_service, timeout, f"{where}grpc_service."
    )
    shares = {"filter_enabled": ALL, "filter_enforced": ALL}
    for field in shares:
        if message.HasField(field):
            shares[field] = fraction(getattr(message, field), f"{at}{field}.")
    add = each(message.response_headers_to_add, f"{at}response_headers_to_add", addition)
    status = message.rate_limited_status.code
    settings = Settings(
        message.domain,
        service,
        message.stage,
        message.failure_mode_deny,
        status_of(message.status_on_error.code or 500, f"{at}status_on_error.code"),
        # As Envoy: what is no error isn't a refusal.
        status if 400 <= status < 600 else 429,
        message.rate_limited_as_resource_exhausted,
        message.enable_x_ratelimit_headers == pb.RateLimit.DRAFT_VERSION_03,
        not message.disable_x_envoy_ratelimited_header,
        Edits(add=add),
        rate_limits(message.rate_limits, at),
        shares["filter_enabled"],
        shares["filter_enforced"],
    )
    return GlobalLimit(name, settings)


def status_of(code: int, at: str) -> int:
    """A status that can be given."""
    if not 200 <= code < 600:
        raise RouteError(f"{at} {code} is not in 200…599")
    return code


def override(value: bytes, at: str) -> Any:
    """Decode a RateLimitPerRoute; raises RouteError."""
    message = pb.RateLimitPerRoute.FromString(value)
    only(message, {"vh_rate_limits", "rate_limits", "domain"}, at)
    try:
        host = HostLimits(message.vh_rate_limits)
    except ValueError:
        raise RouteError(
            f"{at}vh_rate_limits {message.vh_rate_limits} is not known here"
        ) from None
    return Override(host, rate_limits(message.rate_limits, at), message.domain)


GLOBAL_LIMIT = Kind(build, {pb.RateLimitPerRoute.DESCRIPTOR.full_name: override})
