"""When a request is tried again: Envoy's RetryPolicy."""

from __future__ import annotations

from envoy.config.route.v3 import route_components_pb2

from waypoint.decode.fields import each, header_name, only, seconds
from waypoint.decode.match import header_match
from waypoint.errors import RouteError
from waypoint.resilience.retry import DEFAULT_POLICY, RateLimitReset, RetryPolicy

POLICY = {
    "retry_on", "num_retries", "per_try_timeout",
    "retry_host_predicate", "host_selection_retry_max_attempts", "retriable_status_codes",
    "retry_back_off", "rate_limited_retry_back_off", "retriable_headers", "retry_priority",
}  # fmt: skip
#: Those that Istio's validator accepts.
CONDITIONS = frozenset({
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure",
    "retriable-4xx", "refused-stream", "retriable-status-codes", "retriable-headers",
    "envoy-ratelimited", "http3-post-connect-failure",
    "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
})  # fmt: skip
PREVIOUS_HOSTS = (
    "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
)
PREVIOUS_PRIORITIES = (
    "type.googleapis.com/"
    "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
)
#: Where Envoy has no other word, in seconds.
BASE, MAXIMUM, RESET_MAXIMUM = 0.025, 0.25, 300.0


def retry_policy(message: route_components_pb2.RetryPolicy, at: str) -> RetryPolicy:
    """Decode a RetryPolicy."""
    only(message, POLICY, at)
    on = frozenset(word.strip() for word in message.retry_on.split(",") if word.strip())
    if unknown := sorted(on - CONDITIONS):
        raise RouteError(f"{at}retry_on {unknown[0]!r} is not supported")
    if message.HasField("retry_priority"):
        # Hosts that failed are avoided in all priorities, so that retries leave one anyway.
        kind = message.retry_priority.typed_config.type_url
        if kind != PREVIOUS_PRIORITIES:
            raise RouteError(f"{at}retry_priority {kind!r} is not supported")
    base, maximum = backoff(message, f"{at}retry_back_off.")
    resets, reset_maximum = rate_limited(
        message.rate_limited_retry_back_off, f"{at}rate_limited_retry_back_off."
    )
    matchers = each(message.retriable_headers, f"{at}retriable_headers", header_match)
    return RetryPolicy(
        on=on,
        attempts=message.num_retries.value if message.HasField("num_retries") else 1,
        per_try_timeout=seconds(message, "per_try_timeout", at) or None,
        statuses=frozenset(message.retriable_status_codes),
        header_matchers=tuple(matcher.accepts_response for matcher in matchers),
        backoff_base=base,
        backoff_maximum=maximum,
        resets=resets,
        reset_maximum=reset_maximum,
        avoid_previous_hosts=avoids_previous(message, at),
        host_selection_attempts=message.host_selection_retry_max_attempts or 1,
        # What istiod writes where nobody said anything of retries.
        cautious=on == DEFAULT_POLICY.on and not message.retriable_status_codes,
    )


def avoids_previous(message: route_components_pb2.RetryPolicy, at: str) -> bool:
    """Whether hosts that were tried are avoided, the one host predicate there is."""
    for i, predicate in enumerate(message.retry_host_predicate):
        if predicate.typed_config.type_url != PREVIOUS_HOSTS:
            raise RouteError(
                f"{at}retry_host_predicate[{i}] {predicate.name!r} is not supported"
            )
    return bool(message.retry_host_predicate)


def backoff(message: route_components_pb2.RetryPolicy, at: str) -> tuple[float, float]:
    """The shortest and the longest interval between tries, in seconds."""
    if not message.HasField("retry_back_off"):
        return BASE, MAXIMUM
    intervals = message.retry_back_off
    only(intervals, {"base_interval", "max_interval"}, at)
    base = seconds(intervals, "base_interval", at)
    if not base:
        raise RouteError(f"{at}base_interval is missing or 0")
    maximum = seconds(intervals, "max_interval", at)
    if maximum is None:
        return base, 10 * base
    if maximum < base:
        raise RouteError(f"{at}max_interval {maximum} s is less than base_interval {base} s")
    return base, maximum


def rate_limited(
    message: route_components_pb2.RetryPolicy.RateLimitedRetryBackOff, at: str
) -> tuple[tuple[RateLimitReset, ...], float]:
    """The headers that say when to come again, and the longest wait, in seconds."""
    only(message, {"reset_headers", "max_interval"}, at)

    def reset(header: route_components_pb2.RetryPolicy.ResetHeader, at: str) -> RateLimitReset:
        only(header, {"name", "format"}, at)
        return RateLimitReset(header_name(header.name, f"{at}name"), header.format == 0)

    maximum = seconds(message, "max_interval", at)
    resets = each(message.reset_headers, f"{at}reset_headers", reset)
    return resets, RESET_MAXIMUM if maximum is None else maximum
