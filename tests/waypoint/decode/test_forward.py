from __future__ import annotations

from typing import Any

import pytest

from tests.waypoint.decode.messages import forward
from waypoint.errors import RouteError
from waypoint.routing import Mirror
from waypoint.routing.conditions import Fraction
from waypoint.routing.rewrites import (
    HostFromHeader,
    HostFromPath,
    HostLiteral,
    PatternRewrite,
    PrefixRewrite,
)
from waypoint.routing.text import Substitution

REWRITE = {"pattern": {"google_re2": {}, "regex": "^/(a)"}, "substitution": r"/\1\1"}
DOUBLED = Substitution("^/(a)", r"/\1\1")


@pytest.mark.parametrize(
    ("action", "field", "wanted"),
    [
        ({}, "timeout", 15.0),
        ({"timeout": "0s"}, "timeout", None),
        ({"timeout": "0.5s"}, "timeout", 0.5),
        ({}, "idle_timeout", None),
        ({"idle_timeout": "0s"}, "idle_timeout", 0.0),
        ({"idle_timeout": "7s"}, "idle_timeout", 7.0),
        ({}, "max_grpc_timeout", None),
        ({"max_grpc_timeout": "0s"}, "max_grpc_timeout", 0.0),
        ({"max_stream_duration": {"grpc_timeout_header_max": "9s"}}, "max_grpc_timeout", 9.0),
        ({"max_stream_duration": {"grpc_timeout_header_max": "9s"}}, "stream_limit", None),
        ({"max_stream_duration": {"max_stream_duration": "8s"}}, "stream_limit", 8.0),
        ({"max_stream_duration": {"max_stream_duration": "0s"}}, "stream_limit", 0.0),
        ({"prefix_rewrite": "/new"}, "path", PrefixRewrite(b"/new", 1)),
        ({"regex_rewrite": REWRITE}, "path", PatternRewrite(DOUBLED)),
        ({"host_rewrite_literal": "B.test"}, "host", HostLiteral(b"B.test")),
        ({"host_rewrite_header": "X-To"}, "host", HostFromHeader(b"x-to")),
        ({"host_rewrite_path_regex": REWRITE}, "host", HostFromPath(DOUBLED)),
        ({"append_x_forwarded_host": True}, "tell_forwarded_host", True),
        ({"upgrade_configs": [{"upgrade_type": "WebSocket"}]}, "upgrades", {"websocket"}),
        ({"upgrade_configs": [{"upgrade_type": "a", "enabled": True}]}, "upgrades", {"a"}),
    ],
)
def test_fields(action: dict[str, Any], field: str, wanted: object) -> None:
    assert getattr(forward(action), field) == wanted


def share(numerator: int) -> dict[str, Any]:
    return {"runtime_fraction": {"default_value": {"numerator": numerator}}}


def test_mirrors() -> None:
    policies = [
        {"cluster": "m"},
        {"cluster": "n", **share(5), "disable_shadow_host_suffix_append": True},
        {"cluster": "never", **share(0)},
    ]
    wanted = (Mirror("m"), Mirror("n", Fraction(5, 100), suffix=False))
    assert forward({"request_mirror_policies": policies}).mirrors == wanted


def test_what_is_said_above_holds_unless_it_is_said_here() -> None:
    above = {"request_mirror_policies": [{"cluster": "above"}]}
    host = {
        "request_mirror_policies": [{"cluster": "host"}],
        "retry_policy": {"retry_on": "reset"},
    }
    here = {
        "request_mirror_policies": [{"cluster": "here"}],
        "retry_policy": {"retry_on": "5xx"},
    }
    made = forward({}, **above)
    assert (made.mirrors, made.retry) == ((Mirror("above"),), None)
    made = forward({}, host=host, **above)
    assert made.mirrors == (Mirror("host"),)
    assert made.retry is not None
    assert made.retry.on == {"reset"}
    made = forward(here, host=host, **above)
    assert made.mirrors == (Mirror("here"),)
    assert made.retry is not None
    assert made.retry.on == {"5xx"}


def test_clusters_have_edits_and_a_host_of_their_own() -> None:
    chosen = {
        "name": "a",
        "weight": 1,
        "host_rewrite_literal": "b.test",
        "request_headers_to_remove": ["X-A"],
        "response_headers_to_remove": ["X-B"],
    }
    made = forward({"weighted_clusters": {"clusters": [chosen]}}).clusters[0]
    assert (made.name, made.authority) == ("a", b"b.test")
    assert made.request_edits.remove == {b"x-a"}
    assert made.response_edits.remove == {b"x-b"}


@pytest.mark.parametrize(
    ("action", "named"),
    [
        ({"idle_timeout": "-1s"}, "idle_timeout"),
        ({"prefix_rewrite": "/a", "regex_rewrite": REWRITE}, "prefix_rewrite"),
        ({"prefix_rewrite": "/a b"}, "prefix_rewrite"),
        ({"prefix_rewrite": "/a\r\nx: y"}, "prefix_rewrite"),
        ({"host_rewrite_literal": "a\nb"}, "host_rewrite_literal"),
        ({"regex_rewrite": {"pattern": {"regex": "("}}}, r"regex_rewrite\.pattern\.regex"),
        ({"regex_rewrite": {"pattern": {"regex": "a"}, "substitution": r"\1"}}, "substitution"),
        ({"regex_rewrite": {"pattern": {"regex": "a"}, "substitution": " "}}, "substitution"),
        ({"auto_host_rewrite": True}, "auto_host_rewrite"),
        ({"path_rewrite": "/x"}, "path_rewrite"),
        ({"host_rewrite": "x"}, "host_rewrite"),
        ({"priority": "HIGH"}, "priority"),
        ({"metadata_match": {"filter_metadata": {"a": {}}}}, "metadata_match"),
        ({"hedge_policy": {"hedge_on_per_try_timeout": True}}, "hedge_policy"),
        ({"cors": {"allow_methods": "x"}}, "cors"),
        ({"upgrade_configs": [{"upgrade_type": "a", "enabled": False}]}, "enabled"),
        ({"upgrade_configs": [{"upgrade_type": "a", "connect_config": {}}]}, "connect_config"),
        ({"request_mirror_policies": [{"cluster_header": "x"}]}, "cluster_header"),
        ({"request_mirror_policies": [{}]}, "cluster is missing"),
        ({"max_stream_duration": {"grpc_timeout_header_offset": "1s"}}, "offset"),
        ({"max_stream_duration": {}, "max_grpc_timeout": "1s"}, "max_grpc_timeout"),
    ],
)
def test_what_is_not_supported_is_named(action: dict[str, Any], named: str) -> None:
    with pytest.raises(RouteError, match=rf"routes\[0\]\.route\..*{named}"):
        forward(action)
