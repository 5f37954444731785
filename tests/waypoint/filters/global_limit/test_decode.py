"""What of the RateLimit filter is honoured, and what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import (
    RateLimit,
    RateLimitPerRoute,
)
from google.protobuf.json_format import ParseDict

from waypoint.errors import RouteError
from waypoint.filters.descriptors import HostLimits
from waypoint.filters.global_limit.decode import build, override
from waypoint.filters.global_limit.settings import Override, Settings
from waypoint.filters.unary import GrpcService

SERVICE = {"grpc_service": {"envoy_grpc": {"cluster_name": "outbound|81||a.b"}}}
LEAST = {"domain": "d", "rate_limit_service": SERVICE}


def settings(**given: Any) -> Settings:
    return build("f", ParseDict(given, RateLimit()).SerializeToString(), "at.").settings


def test_what_says_little_fails_open_within_20_ms() -> None:
    assert settings(**LEAST) == Settings("d", GrpcService("outbound|81||a.b", b"a.b", 0.02))
    assert settings(**LEAST, timeout="1s").service.timeout == 1
    assert settings(**LEAST, rate_limited_status={"code": 503}).status == 503
    assert settings(**LEAST, rate_limited_status={"code": 200}).status == 429


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"rate_limit_service": SERVICE}, "at.domain is missing"),
        ({**LEAST, "rate_limited_status": {"code": 600}}, "at.rate_limited_status.code 600"),
        ({**LEAST, "stage": 11}, "at.stage 11 is not in 0…10"),
        ({**LEAST, "request_type": "internal"}, "at.request_type 'internal'"),
        ({"domain": "d"}, "envoy_grpc.cluster_name is missing"),
        (
            {**LEAST, "failure_mode_deny_percent": {"default_value": {"numerator": 5}}},
            "at.failure_mode_deny_percent",
        ),
        ({**LEAST, "rate_limits": [{"actions": []}]}, "at.rate_limits[0].actions is empty"),
    ],
)
def test_what_is_not_honoured_is_named(given: dict[str, Any], named: str) -> None:
    with pytest.raises(RouteError) as error:
        settings(**given)
    assert named in str(error.value)


def test_a_routes_own() -> None:
    def of(**given: Any) -> Any:
        return override(ParseDict(given, RateLimitPerRoute()).SerializeToString(), "at.")

    assert of(vh_rate_limits="INCLUDE", domain="x") == Override(HostLimits.INCLUDE, (), "x")
    with pytest.raises(RouteError, match=r"at\.override_option"):
        of(override_option="INCLUDE_POLICY")
