"""Local limits from Envoy's messages: honoured, or refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import (
    LocalRateLimit,
)
from google.protobuf import json_format

from waypoint.errors import RouteError
from waypoint.filters.descriptors import HostLimits
from waypoint.filters.local_limit.bucket import SECOND, Bucket
from waypoint.filters.local_limit.decode import decode_limit, override
from waypoint.filters.local_limit.settings import NEVER, Limit, LocalLimit
from waypoint.routing.conditions import Fraction
from waypoint.routing.edits import Action, Addition, Edits
from waypoint.routing.templates import parse_template

BUCKET = {"maxTokens": 5, "tokensPerFill": 2, "fillInterval": "0.5s"}
MADE = Bucket(5, 2, SECOND // 2)
HALF = {"defaultValue": {"numerator": 50}, "runtimeKey": "k"}


def packed(given: dict[str, Any]) -> bytes:
    return json_format.ParseDict(given, LocalRateLimit()).SerializeToString()


def decoded(given: dict[str, Any]) -> LocalLimit:
    return decode_limit(packed(given), "x.")


def entries(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"entries": [{"key": k, "value": v} for k, v in pairs], "tokenBucket": BUCKET}


def test_what_is_not_set_limits_nothing() -> None:
    limit = decoded({"statPrefix": "x", "tokenBucket": BUCKET})
    assert limit == LocalLimit("x", MADE)
    assert (limit.enabled, limit.enforced, limit.status) == (NEVER, NEVER, 429)
    assert limit.inert
    assert decoded({"filterEnabled": HALF}).inert


def test_what_is_honoured() -> None:
    limit = decoded(
        {
            "statPrefix": "x",
            "tokenBucket": {"maxTokens": 1, "fillInterval": "60s"},
            "filterEnabled": HALF,
            "filterEnforced": HALF,
            "status": {"code": 503},
            "responseHeadersToAdd": [{"header": {"key": "X-A", "value": "1"}}],
            "requestHeadersToAddWhenNotEnforced": [{"header": {"key": "x-b", "value": "2"}}],
            "descriptors": [entries(("a", "1"), ("b", "")), entries(("a", "1"))],
            "stage": 2,
            "localRateLimitPerDownstreamConnection": True,
            "enableXRatelimitHeaders": "DRAFT_VERSION_03",
            "vhRateLimits": "IGNORE",
            "alwaysConsumeDefaultTokenBucket": False,
            "rateLimitedAsResourceExhausted": True,
            "maxDynamicDescriptors": 100,
            "rateLimits": [{"actions": [{"remoteAddress": {}}]}],
        }
    )
    half = Fraction(50, 100)
    assert len(limit.own) == 1
    assert limit == LocalLimit(
        prefix="x",
        bucket=Bucket(1, 1, 60 * SECOND),
        enabled=half,
        enforced=half,
        status=503,
        answer=Edits(add=(Addition(b"x-a", parse_template("1"), Action.ADD),)),
        unenforced=Edits(add=(Addition(b"x-b", parse_template("2"), Action.ADD),)),
        limits=(Limit((("a", "1"), ("b", "")), MADE), Limit((("a", "1"),), MADE)),
        own=limit.own,
        stage=2,
        host=HostLimits.IGNORE,
        per_connection=True,
        tells=True,
        exhausted=True,
        always=False,
    )
    assert not limit.inert


@pytest.mark.parametrize(("code", "status"), [(200, 429), (399, 429), (400, 400), (599, 599)])
def test_statuses(code: int, status: int) -> None:
    assert decoded({"status": {"code": code}}).status == status


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"localClusterRateLimit": {}}, "x.local_cluster_rate_limit"),
        ({"tokenBucket": {"fillInterval": "1s"}}, "x.token_bucket.max_tokens"),
        ({"tokenBucket": {**BUCKET, "tokensPerFill": 0}}, "x.token_bucket.max_tokens"),
        ({"tokenBucket": {"maxTokens": 1}}, "x.token_bucket.fill_interval 0 s: give more"),
        (
            {"tokenBucket": {"maxTokens": 4_000_000_000, "fillInterval": "3600s"}},
            "x.token_bucket.fill_interval: the bucket takes over 100 years",
        ),
        ({"descriptors": [{"tokenBucket": BUCKET}]}, "x.descriptors[0].entries is empty"),
        ({"descriptors": [entries(("", "a"))]}, "x.descriptors[0].entries[0].key is empty"),
        (
            {"descriptors": [entries(("a", "1")), entries(("a", "1"))]},
            "x.descriptors[1] has the entries of another",
        ),
        ({"descriptors": [{"entries": [{"key": "a"}]}]}, "x.descriptors[0].token_bucket."),
        ({"stage": 11}, "x.stage 11 is not in 0…10"),
        ({"status": {"code": 600}}, "x.status.code 600"),
        ({"maxDynamicDescriptors": 70_000}, "x.max_dynamic_descriptors 70000 is above"),
        (
            {"responseHeadersToAdd": [{"header": {"key": "content-length", "value": "1"}}]},
            "x.response_headers_to_add[0].header.key content-length",
        ),
        ({"rateLimits": [{"limit": {}}]}, "x.rate_limits[0]."),
    ],
)
def test_what_is_not(given: dict[str, Any], told: str) -> None:
    with pytest.raises(RouteError) as error:
        decoded(given)
    assert str(error.value).startswith(told)


def test_routes_need_a_bucket() -> None:
    with pytest.raises(RouteError, match="token_bucket is missing"):
        override(packed({"filterEnabled": HALF}), "x.")
