from __future__ import annotations

from typing import Any

import pytest

from tests.waypoint.decode.messages import decode
from waypoint.decode.forward import DEFAULT_TIMEOUT
from waypoint.decode.table import decode_table
from waypoint.errors import RouteError
from waypoint.routing import DirectResponse, Forward, Route, WeightedCluster
from waypoint.routing.conditions import HeaderMatch, QueryMatch
from waypoint.routing.text import Kind, TextMatch

HTTP = {"cluster": "c"}


def route(match: dict[str, Any], action: dict[str, Any] | None = None, **more: Any) -> Route:
    entry = {"name": "r", "match": match, "route": action or HTTP, **more}
    return decode(entry).hosts[0].routes[0]


@pytest.mark.parametrize(
    ("match", "path"),
    [
        ({"prefix": ""}, None),
        ({"prefix": "/"}, TextMatch(Kind.PREFIX, "/")),
        ({"path": "/a"}, TextMatch(Kind.EXACT, "/a")),
        ({"pathSeparatedPrefix": "/a"}, TextMatch(Kind.PATH_PREFIX, "/a")),
        ({"safeRegex": {"regex": "/[a-z]+"}}, TextMatch(Kind.REGEX, "/[a-z]+")),
        ({"prefix": "/a", "caseSensitive": False}, TextMatch(Kind.PREFIX, "/a", True)),
        ({"path": "/a", "caseSensitive": True}, TextMatch(Kind.EXACT, "/a")),
    ],
)
def test_paths(match: dict[str, Any], path: TextMatch | None) -> None:
    assert route(match).match.path == path


@pytest.mark.parametrize(
    ("matcher", "wanted"),
    [
        ({}, HeaderMatch("x", TextMatch(Kind.PRESENT, ""))),
        ({"presentMatch": True}, HeaderMatch("x", TextMatch(Kind.PRESENT, ""))),
        ({"presentMatch": False}, HeaderMatch("x", TextMatch(Kind.PRESENT, ""), present=False)),
        ({"exactMatch": "1"}, HeaderMatch("x", TextMatch(Kind.EXACT, "1"))),
        ({"prefixMatch": "1"}, HeaderMatch("x", TextMatch(Kind.PREFIX, "1"))),
        ({"suffixMatch": "1"}, HeaderMatch("x", TextMatch(Kind.SUFFIX, "1"))),
        ({"containsMatch": "1"}, HeaderMatch("x", TextMatch(Kind.CONTAINS, "1"))),
        ({"safeRegexMatch": {"regex": "1"}}, HeaderMatch("x", TextMatch(Kind.REGEX, "1"))),
        ({"rangeMatch": {"start": "-1", "end": "5"}},
         HeaderMatch("x", TextMatch(Kind.RANGE, "-1:5"))),
        ({"stringMatch": {"exact": "1", "ignoreCase": True}},
         HeaderMatch("x", TextMatch(Kind.EXACT, "1", True))),
        ({"stringMatch": {"safeRegex": {"regex": "1"}}},
         HeaderMatch("x", TextMatch(Kind.REGEX, "1"))),
        ({"stringMatch": {"prefix": "1"}, "invertMatch": True},
         HeaderMatch("x", TextMatch(Kind.PREFIX, "1"), invert=True)),
        ({"stringMatch": {"suffix": "1"}, "treatMissingHeaderAsEmpty": True},
         HeaderMatch("x", TextMatch(Kind.SUFFIX, "1"), missing_is_empty=True)),
    ],
)  # fmt: skip
def test_headers(matcher: dict[str, Any], wanted: HeaderMatch) -> None:
    matchers = [{"name": "X", **matcher}]
    assert route({"prefix": "/", "headers": matchers}).match.headers == (wanted,)


@pytest.mark.parametrize(
    ("matcher", "wanted"),
    [
        ({}, QueryMatch("q", TextMatch(Kind.PRESENT, ""))),
        ({"presentMatch": False}, QueryMatch("q", TextMatch(Kind.PRESENT, ""), False)),
        ({"stringMatch": {"contains": "1"}}, QueryMatch("q", TextMatch(Kind.CONTAINS, "1"))),
    ],
)
def test_query_parameters(matcher: dict[str, Any], wanted: QueryMatch) -> None:
    match = {"prefix": "/", "queryParameters": [{"name": "q", **matcher}]}
    assert route(match).match.query == (wanted,)


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [({}, DEFAULT_TIMEOUT), ({"timeout": "0s"}, None), ({"timeout": "1.5s"}, 1.5)],
)
def test_timeouts(timeout: dict[str, str], seconds: float | None) -> None:
    action = route({"prefix": "/"}, {"cluster": "c", **timeout}).action
    assert action == Forward((WeightedCluster("c", 1),), seconds)


def weighted(*weights: int, **more: Any) -> Route:
    clusters = [{"name": f"c{i}", "weight": w} for i, w in enumerate(weights)]
    return route({"prefix": "/"}, {"weightedClusters": {"clusters": clusters, **more}})


def test_weights() -> None:
    action = weighted(80, 0, 20, totalWeight=100).action
    assert isinstance(action, Forward)
    assert action.clusters == (WeightedCluster("c0", 80), WeightedCluster("c2", 20))
    assert weighted(1, 2).action == Forward(
        (WeightedCluster("c0", 1), WeightedCluster("c1", 2)), DEFAULT_TIMEOUT
    )


@pytest.mark.parametrize(
    ("weights", "more"),
    [((), {}), ((0, 0), {}), ((2**32 - 1, 1), {}), ((50, 40), {"totalWeight": 100})],
)
def test_weights_that_don_t_add_up(weights: tuple[int, ...], more: dict[str, Any]) -> None:
    with pytest.raises(RouteError, match="add up"):
        weighted(*weights, **more)


def test_direct_responses() -> None:
    def decoded(response: dict[str, Any], **more: Any) -> Any:
        entry = {"match": {"prefix": "/"}, "directResponse": response}
        return decode(entry, **more).hosts[0].routes[0].action

    assert decoded({"status": 500}) == DirectResponse(500)
    assert decoded({"status": 200, "body": {"inlineString": "é"}}) == DirectResponse(
        200, "é".encode()
    )
    assert decoded({"status": 418, "body": {"inlineBytes": "AAE="}}).body == b"\0\1"
    for wrong in (
        {"status": 99},
        {"status": 600},
        {"status": 200, "body": {"filename": "/etc/passwd"}},
        {"status": 200, "body": {"inlineString": "x" * 4097}},
    ):
        with pytest.raises(RouteError):
            decoded(wrong)
    large = {"status": 200, "body": {"inlineString": "x" * 4097}}
    assert len(decoded(large, maxDirectResponseBodySizeBytes=5000).body) == 4097


def test_names_and_what_decides_nothing() -> None:
    entry = {
        "name": "ns.route.0",
        "match": {"prefix": "/"},
        "route": HTTP,
        "metadata": {},
        "decorator": {"operation": "x"},
        "statPrefix": "p",
    }
    made = decode(entry, validateClusters=False, ignorePortInHostMatching=True)
    assert (made.name, made.ignore_port) == ("n", True)
    assert made.hosts[0].routes[0].name == "ns.route.0"


@pytest.mark.parametrize(
    ("place", "entry"),
    [
        ("filter_action", {"match": {"prefix": "/"}, "filterAction": {}}),
        ("tracing", {"match": {"prefix": "/"}, "route": HTTP, "tracing": {}}),
        (r"typed_per_filter_config\[x\]",
         {"match": {"prefix": "/"}, "route": HTTP, "typedPerFilterConfig": {
             "x": {"@type": "type.googleapis.com/google.protobuf.Empty"}}}),
        ("cluster_header", {"match": {"prefix": "/"}, "route": {"clusterHeader": "x"}}),
        ("connect_matcher", {"match": {"connectMatcher": {}}, "route": HTTP}),
        ("custom", {"match": {"prefix": "/", "headers": [
            {"name": "x", "stringMatch": {"custom": {"name": "c"}}}]}, "route": HTTP}),
        ("action", {"match": {"prefix": "/"}}),
        ("path_specifier", {"match": {}, "route": HTTP}),
        ("cluster_specifier", {"match": {"prefix": "/"}, "route": {}}),
        ("regular expression", {"match": {"safeRegex": {"regex": "("}}, "route": HTTP}),
        ("match_pattern",
         {"match": {"prefix": "/", "headers": [{"name": "x", "stringMatch": {}}]},
          "route": HTTP}),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_named(place: str, entry: dict[str, Any]) -> None:
    with pytest.raises(RouteError, match=place):
        decode(entry)


def test_where_it_is() -> None:
    good = {"match": {"prefix": "/"}, "route": HTTP}
    bad = {"match": {"prefix": "/"}, "route": {**HTTP, "timeout": "-1s"}}
    with pytest.raises(RouteError, match=r"virtual_hosts\[0\]\.routes\[1\]\.route\.timeout"):
        decode(good, bad)
    with pytest.raises(RouteError, match=r"virtual_hosts\[0\]\.domains"):
        decode(good, host={"domains": []})
    with pytest.raises(RouteError, match="vhds"):
        decode(good, vhds={"configSource": {"ads": {}}})
    with pytest.raises(RouteError, match="require_tls"):
        decode(good, host={"requireTls": "ALL"})


@pytest.mark.parametrize("value", [b"\xff", b"\x0a\x05x"])
def test_bytes_that_are_no_message(value: bytes) -> None:
    with pytest.raises(RouteError, match="not a RouteConfiguration"):
        decode_table(value)


def test_fields_of_the_future_are_refused() -> None:
    with pytest.raises(RouteError, match="field number 1000"):
        decode_table(b"\xc2\x3e\x01x")
