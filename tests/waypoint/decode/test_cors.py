from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.http.cors.v3.cors_pb2 import CorsPolicy

from tests.waypoint.decode.messages import sole
from waypoint.decode.cors import FILTER, TYPE_URL
from waypoint.errors import RouteError
from waypoint.routing import Cors
from waypoint.routing.text import Kind, TextMatch


def policy(**fields: Any) -> dict[str, Any]:
    kind = f"type.googleapis.com/{CorsPolicy.DESCRIPTOR.full_name}"
    return {"typed_per_filter_config": {FILTER: {"@type": kind, **fields}}}


def share(numerator: int) -> dict[str, Any]:
    return {"default_value": {"numerator": numerator}}


ORIGINS = {"allow_origin_string_match": [{"exact": "http://a.test"}]}
A = (TextMatch(Kind.EXACT, "http://a.test"),)


def test_all_of_it() -> None:
    fields = {
        **ORIGINS,
        "allow_methods": "PUT",
        "allow_headers": "x-a",
        "expose_headers": "x-b",
        "max_age": "60",
        "allow_credentials": True,
        "allow_private_network_access": True,
        "forward_not_matching_preflights": False,
        "filter_enabled": share(100),
        "shadow_enabled": share(5),
    }
    wanted = Cors(A, b"PUT", b"x-a", b"x-b", b"60", True, True, False)
    assert sole(policy(**fields)).cors == wanted


@pytest.mark.parametrize(
    ("host", "route", "wanted"),
    [
        ({}, {}, None),
        (policy(), {}, Cors()),
        (policy(**ORIGINS, max_age="1"), policy(max_age="2"), Cors(A, max_age=b"2")),
        (policy(allow_credentials=True), policy(), Cors(credentials=True)),
        (policy(allow_credentials=True), policy(allow_credentials=False), Cors()),
        (policy(filter_enabled=share(0)), {}, None),
        (policy(filter_enabled=share(0)), policy(), Cors()),
        (policy(), policy(filter_enabled=share(0)), None),
        (policy(forward_not_matching_preflights=False), policy(), Cors(forward_others=False)),
    ],
)
def test_what_a_route_doesn_t_say_its_host_does(
    host: dict[str, Any], route: dict[str, Any], wanted: Cors | None
) -> None:
    assert sole(route, host=host).cors == wanted


def test_answers_of_our_own_are_shared_with_nobody() -> None:
    assert sole({"redirect": {}, **policy(**ORIGINS)}).cors is None


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (policy(filter_enabled=share(50)), "filter_enabled"),
        (policy(allow_methods="a\nb"), "allow_methods"),
        ({"typed_per_filter_config": {"other": {"@type": TYPE_URL}}}, r"\[other\]"),
        ({"typed_per_filter_config": {FILTER: {
            "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig"}}},
         "FilterConfig"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_named(config: dict[str, Any], named: str) -> None:
    with pytest.raises(RouteError, match=named):
        sole(config)
    with pytest.raises(RouteError, match=named):
        sole({}, host=config)
