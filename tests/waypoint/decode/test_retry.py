from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import (
    PreviousHostsPredicate,
)

from tests.waypoint.decode.messages import forward
from waypoint.decode.retry import CONDITIONS
from waypoint.errors import RouteError
from waypoint.messages import Response
from waypoint.resilience.retry import RateLimitReset, RetryPolicy


def retry(**policy: Any) -> RetryPolicy:
    made = forward({"retry_policy": policy}).retry
    assert made is not None
    return made


def test_defaults() -> None:
    assert retry() == RetryPolicy(frozenset())


def test_every_condition_that_istio_accepts() -> None:
    assert retry(retry_on=",".join(CONDITIONS)).on == CONDITIONS
    assert retry(retry_on=" reset , 5xx,").on == {"reset", "5xx"}


KIND = f"type.googleapis.com/{PreviousHostsPredicate.DESCRIPTOR.full_name}"
PREVIOUS = {"name": "p", "typed_config": {"@type": KIND}}


@pytest.mark.parametrize(
    ("policy", "field", "wanted"),
    [
        ({"num_retries": 0}, "attempts", 0),
        ({"num_retries": 3}, "attempts", 3),
        ({"per_try_timeout": "2s"}, "per_try_timeout", 2.0),
        ({"per_try_timeout": "0s"}, "per_try_timeout", None),
        ({"retriable_status_codes": [503, 409]}, "statuses", {503, 409}),
        ({"host_selection_retry_max_attempts": 5}, "host_selection_attempts", 5),
        ({"retry_host_predicate": [PREVIOUS]}, "avoid_previous_hosts", True),
        ({"retry_back_off": {"base_interval": "1s"}}, "backoff_maximum", 10.0),
        ({"retry_back_off": {"base_interval": "1s"}}, "backoff_base", 1.0),
        ({"retry_back_off": {"base_interval": "1s", "max_interval": "4s"}},
         "backoff_maximum", 4.0),
    ],
)  # fmt: skip
def test_fields(policy: dict[str, Any], field: str, wanted: object) -> None:
    assert getattr(retry(**policy), field) == wanted


def test_rate_limits() -> None:
    headers = [{"name": "Retry-After"}, {"name": "x-reset", "format": "UNIX_TIMESTAMP"}]
    made = retry(rate_limited_retry_back_off={"reset_headers": headers})
    assert made.resets == (
        RateLimitReset(b"retry-after", True),
        RateLimitReset(b"x-reset", False),
    )
    assert made.reset_maximum == 300.0
    made = retry(rate_limited_retry_back_off={"max_interval": "9s", "reset_headers": headers})
    assert made.reset_maximum == 9.0


def test_headers_of_responses() -> None:
    matcher = {"name": "X-Retry", "string_match": {"exact": "yes"}}
    (accepts,) = retry(retriable_headers=[matcher]).header_matchers
    assert accepts(Response(200, ((b"x-retry", b"yes"),)))
    assert not accepts(Response(200, ((b"x-retry", b"no"),)))
    (accepts,) = retry(
        retriable_headers=[{"name": ":status", "range_match": {"start": 500, "end": 504}}]
    ).header_matchers
    assert accepts(Response(503, ()))
    assert not accepts(Response(504, ()))


@pytest.mark.parametrize(
    ("policy", "named"),
    [
        ({"retry_on": "5xx,whenever"}, "retry_on 'whenever'"),
        ({"retry_host_predicate": [PREVIOUS, {"name": "omit"}]},
         r"retry_host_predicate\[1\] 'omit'"),
        ({"retry_priority": {"name": "x"}}, "retry_priority"),
        ({"per_try_idle_timeout": "2s"}, "per_try_idle_timeout"),
        ({"retriable_request_headers": [{"name": "x"}]}, "retriable_request_headers"),
        ({"retry_back_off": {"max_interval": "1s"}}, "base_interval"),
        ({"retry_back_off": {"base_interval": "2s", "max_interval": "1s"}}, "max_interval"),
        ({"per_try_timeout": "-1s"}, "per_try_timeout"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_named(policy: dict[str, Any], named: str) -> None:
    with pytest.raises(RouteError, match=rf"retry_policy\..*{named}"):
        retry(**policy)
