"""Local limits, from Envoy's LocalRateLimit: a filter's message and a route's are the same."""

from __future__ import annotations

from typing import Any

from envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2 as pb
from envoy.type.v3 import token_bucket_pb2

from waypoint.decode.edits import addition
from waypoint.decode.fields import each, fraction, only
from waypoint.decode.limits import (
    bounded_stage,
    host_limits,
    rate_limits,
    refusal_status,
    tells_limits,
)
from waypoint.errors import RouteError
from waypoint.filters.local_limit.bucket import LONGEST, Bucket
from waypoint.filters.local_limit.filter import LocalLimitFilter
from waypoint.filters.local_limit.place import Place
from waypoint.filters.local_limit.settings import NEVER, Limit, LocalLimit
from waypoint.filters.local_limit.shared import DYNAMIC_ROWS
from waypoint.filters.local_limit.table import WAYS
from waypoint.filters.registry import Kind
from waypoint.routing.edits import Edits

TYPE = pb.LocalRateLimit.DESCRIPTOR.full_name
LIMIT = {
    "stat_prefix", "status", "token_bucket", "filter_enabled", "filter_enforced",
    "request_headers_to_add_when_not_enforced", "response_headers_to_add", "descriptors",
    "stage", "local_rate_limit_per_downstream_connection", "enable_x_ratelimit_headers",
    "vh_rate_limits", "always_consume_default_token_bucket",
    "rate_limited_as_resource_exhausted", "rate_limits", "max_dynamic_descriptors",
}  # fmt: skip
#: All there is room for; each place may have as many as it likes of them.
MOST_DYNAMIC = DYNAMIC_ROWS * WAYS


def build(name: str, value: bytes, at: str) -> LocalLimitFilter:
    """Decode the filter; raises RouteError."""
    return LocalLimitFilter(name, Place(decode_limit(value, at), at))


def override(value: bytes, at: str) -> Place:
    """Decode what a route or virtual host has in the filter's place; raises RouteError."""
    limit = decode_limit(value, at)
    if limit.bucket is None:
        raise RouteError(f"{at}token_bucket is missing: settings of routes need one")
    return Place(limit, at)


def decode_limit(value: bytes, at: str) -> LocalLimit:
    """Decode a serialized LocalRateLimit; raises RouteError."""
    message = pb.LocalRateLimit.FromString(value)
    only(message, LIMIT, at)
    if message.max_dynamic_descriptors.value > MOST_DYNAMIC:
        wanted = message.max_dynamic_descriptors.value
        raise RouteError(f"{at}max_dynamic_descriptors {wanted} is above {MOST_DYNAMIC}")
    always = message.always_consume_default_token_bucket
    set_always = message.HasField("always_consume_default_token_bucket")
    return LocalLimit(
        prefix=message.stat_prefix,
        bucket=bucket(message.token_bucket, f"{at}token_bucket.")
        if message.HasField("token_bucket")
        else None,
        enabled=share(message, "filter_enabled", at),
        enforced=share(message, "filter_enforced", at),
        status=refusal_status(message.status, f"{at}status."),
        answer=additions(message, "response_headers_to_add", at),
        unenforced=additions(message, "request_headers_to_add_when_not_enforced", at),
        limits=descriptors(message, at),
        own=rate_limits(message.rate_limits, at),
        stage=bounded_stage(message.stage, at),
        host=host_limits(message.vh_rate_limits, at) or None,
        per_connection=message.local_rate_limit_per_downstream_connection,
        tells=tells_limits(message.enable_x_ratelimit_headers, at),
        exhausted=message.rate_limited_as_resource_exhausted,
        always=always.value if set_always else True,
    )


def bucket(message: token_bucket_pb2.TokenBucket, at: str) -> Bucket:
    """Decode a TokenBucket."""
    only(message, {"max_tokens", "tokens_per_fill", "fill_interval"}, at)
    per_fill = message.tokens_per_fill.value if message.HasField("tokens_per_fill") else 1
    if not message.max_tokens or not per_fill:
        raise RouteError(
            f"{at}max_tokens {message.max_tokens} and tokens_per_fill {per_fill}: both have to "
            "be 1 or more"
        )
    interval = message.fill_interval.ToNanoseconds()
    if interval <= 0:
        raise RouteError(f"{at}fill_interval {interval / 1e9:g} s: give more than 0 s")
    made = Bucket(message.max_tokens, per_fill, interval)
    if made.window > LONGEST:
        raise RouteError(
            f"{at}fill_interval: the bucket takes over 100 years to fill; give less"
        )
    return made


def descriptors(message: pb.LocalRateLimit, at: str) -> tuple[Limit, ...]:
    """Decode the descriptors, of which no two may be equal."""
    found = each(message.descriptors, f"{at}descriptors", descriptor)
    seen = set()
    for index, limit in enumerate(found):
        if limit.entries in seen:
            raise RouteError(
                f"{at}descriptors[{index}] has the entries of another: give each its own"
            )
        seen.add(limit.entries)
    return found


def descriptor(message: ratelimit_pb2.LocalRateLimitDescriptor, at: str) -> Limit:
    """Decode a LocalRateLimitDescriptor."""
    only(message, {"entries", "token_bucket"}, at)
    if not message.entries:
        raise RouteError(f"{at}entries is empty")
    for index, entry in enumerate(message.entries):
        only(entry, {"key", "value"}, f"{at}entries[{index}].")
        if not entry.key:
            raise RouteError(f"{at}entries[{index}].key is empty")
    entries = tuple((entry.key, entry.value) for entry in message.entries)
    return Limit(entries, bucket(message.token_bucket, f"{at}token_bucket."))


def share(message: pb.LocalRateLimit, name: str, at: str) -> Any:
    """A share of requests; none where it isn't set, as with Envoy."""
    if not message.HasField(name):
        return NEVER
    return fraction(getattr(message, name), f"{at}{name}.")


def additions(message: pb.LocalRateLimit, name: str, at: str) -> Edits:
    """Headers to add."""
    return Edits(add=each(getattr(message, name), f"{at}{name}", addition))


KIND = Kind(build, {TYPE: override})
