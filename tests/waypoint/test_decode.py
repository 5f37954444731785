"""What Gateway API's mesh conformance tests ask for, from Envoy's messages to decisions.

Written from the descriptions of the cases, each as the routes that a translator
makes of it. Cases about which route a client gets (ports, consumer routes, VIPs)
are decided before a table is asked.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from tests.waypoint.decode.messages import ANY, decode
from tests.waypoint.requests import request, values
from waypoint.routing import (
    Forward,
    Redirect,
    RouteTable,
    default_table,
    redirection,
    rewritten,
)

V1, V2 = {"cluster": "echo-v1"}, {"cluster": "echo-v2"}


def version(value: str) -> dict[str, Any]:
    return {"headers": [{"name": "version", "string_match": {"exact": value}}]}


def cluster(table: RouteTable, path: str, *lines: str) -> str | None:
    """Where a request goes, or None: no route takes it."""
    route = table.match(request(path, *lines, host="echo"))
    if route is None:
        return None
    assert isinstance(route.action, Forward)
    return route.action.clusters[0].name


def test_basic() -> None:
    assert cluster(default_table("echo"), "/any") == "echo"


def test_traffic_split() -> None:
    table = decode(
        {"match": {"path": "/v1"}, "route": V1}, {"match": {"path": "/v2"}, "route": V2}
    )
    assert (cluster(table, "/v1"), cluster(table, "/v2")) == ("echo-v1", "echo-v2")
    assert cluster(table, "/v3") is None


@pytest.mark.parametrize(
    ("path", "lines", "found"),
    [
        ("/", (), "echo-v1"),
        ("/example", (), "echo-v1"),
        ("/", ("version: one",), "echo-v1"),
        ("/v2", (), "echo-v2"),
        ("/v2/example", (), "echo-v2"),
        ("/", ("Version: two",), "echo-v2"),
        ("/v2/", (), "echo-v2"),
        ("/v2example", (), "echo-v1"),
        ("/foo/v2/example", (), "echo-v1"),
    ],
)
def test_matching(path: str, lines: tuple[str, ...], found: str) -> None:
    table = decode(
        {"match": {"path_separated_prefix": "/v2"}, "route": V2},
        {"match": {"prefix": "/", **version("one")}, "route": V1},
        {"match": {"prefix": "/", **version("two")}, "route": V2},
        {"match": ANY, "route": V1},
    )
    assert cluster(table, path, *lines) == found


def query(*pairs: tuple[str, str]) -> dict[str, Any]:
    matchers = [{"name": name, "string_match": {"exact": value}} for name, value in pairs]
    return {"query_parameters": matchers}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/?animal=whale", "echo-v1"),
        ("/?animal=dolphin", "echo-v2"),
        ("/?animal=dolphin&color=blue", "echo-v3"),
        ("/?ANIMAL=Whale", None),
        ("/?animal=whale&otherparam=irrelevant", "echo-v1"),
        ("/?animal=dolphin&color=yellow", "echo-v2"),
        ("/?color=blue", None),
        ("/?animal=dog", None),
        ("/", None),
        ("/path1?animal=whale", "path1-v1"),
        ("/path1", None),
        ("/path2?animal=whale", "path2"),
    ],
)
def test_query_parameters(path: str, found: str | None) -> None:
    table = decode(
        {"match": {"path_separated_prefix": "/path1", **query(("animal", "whale"))},
         "route": {"cluster": "path1-v1"}},
        {"match": {"path_separated_prefix": "/path2"}, "route": {"cluster": "path2"}},
        {"match": {"path": "/", **query(("animal", "dolphin"), ("color", "blue"))},
         "route": {"cluster": "echo-v3"}},
        {"match": {"path": "/", **query(("animal", "whale"))}, "route": V1},
        {"match": {"path": "/", **query(("animal", "dolphin"))}, "route": V2},
    )  # fmt: skip
    assert cluster(table, path) == found


def location(action: dict[str, Any], path: str = "/") -> tuple[int, str]:
    match = {"path_separated_prefix": "/p"} if path.startswith("/p") else ANY
    table = decode({"match": match, "redirect": action})
    asked = request(path, host="echo")
    route = table.match(asked)
    assert route is not None
    assert isinstance(route.action, Redirect)
    response = redirection(asked, route.action)
    return response.status, values(response.fields, "location")[0]


@pytest.mark.parametrize(
    ("action", "path", "status", "url"),
    [
        # Host and status; 303, 307 and 308.
        ({"host_redirect": "example.org", "response_code": "FOUND"}, "/", 302,
         "http://example.org/"),
        ({"host_redirect": "example.org"}, "/", 301, "http://example.org/"),
        ({"host_redirect": "example.org", "response_code": "SEE_OTHER"}, "/", 303,
         "http://example.org/"),
        ({"host_redirect": "example.org", "response_code": "TEMPORARY_REDIRECT"}, "/", 307,
         "http://example.org/"),
        ({"host_redirect": "example.org", "response_code": "PERMANENT_REDIRECT"}, "/", 308,
         "http://example.org/"),
        # Path: prefix and full, with host and status.
        ({"prefix_rewrite": "/replaced", "response_code": "FOUND"}, "/p/lemon", 302,
         "http://echo/replaced/lemon"),
        ({"path_redirect": "/full", "response_code": "FOUND"}, "/p/x", 302,
         "http://echo/full"),
        ({"prefix_rewrite": "/replaced", "host_redirect": "example.org"}, "/p/lemon", 301,
         "http://example.org/replaced/lemon"),
        ({"path_redirect": "/full", "host_redirect": "example.org"}, "/p", 301,
         "http://example.org/full"),
        # Port.
        ({"port_redirect": 8083, "response_code": "FOUND"}, "/", 302, "http://echo:8083/"),
        ({"port_redirect": 8083, "host_redirect": "example.org"}, "/", 301,
         "http://example.org:8083/"),
        # Scheme.
        ({"scheme_redirect": "https", "response_code": "FOUND"}, "/", 302, "https://echo/"),
        ({"scheme_redirect": "https", "host_redirect": "example.org"}, "/", 301,
         "https://example.org/"),
    ],
)  # fmt: skip
def test_redirects(action: dict[str, Any], path: str, status: int, url: str) -> None:
    assert location(action, path) == (status, url)


def option(key: str, value: str, action: str) -> dict[str, Any]:
    return {"header": {"key": key, "value": value}, "append_action": action}


SET = {"request_headers_to_add": [option("X-Header-Set", "set", "OVERWRITE_IF_EXISTS_OR_ADD")]}
ADD = {"request_headers_to_add": [option("X-Header-Add", "add", "APPEND_IF_EXISTS_OR_ADD")]}
REMOVE = {"request_headers_to_remove": ["X-Header-Remove"]}
MANY = {
    "request_headers_to_add": [
        option("X-Header-Set-1", "1", "OVERWRITE_IF_EXISTS_OR_ADD"),
        option("X-Header-Set-2", "2", "OVERWRITE_IF_EXISTS_OR_ADD"),
        option("X-Header-Add-1", "3", "APPEND_IF_EXISTS_OR_ADD"),
    ],
    "request_headers_to_remove": ["X-Header-Remove-1", "x-hEADER-rEMOVE-2"],
}


@pytest.mark.parametrize(
    ("edits", "lines", "sent"),
    [
        (SET, ("some: thing",), {"some": "thing", "x-header-set": "set"}),
        (SET, ("x-header-set: other",), {"x-header-set": "set"}),
        (ADD, ("some: thing",), {"some": "thing", "x-header-add": "add"}),
        (ADD, ("x-header-add: some",), {"x-header-add": "some,add"}),
        (REMOVE, ("X-HEADER-REMOVE: x",), {}),
        (MANY,
         ("x-header-set-1: o", "x-header-remove-1: o", "x-header-remove-2: o", "x-other: o",
          "x-header-add-1: o"),
         {"x-header-set-1": "1", "x-header-set-2": "2", "x-header-add-1": "o,3",
          "x-other": "o"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("per_backend", [False, True])
def test_request_header_modifiers(
    edits: dict[str, Any], lines: tuple[str, ...], sent: dict[str, str], per_backend: bool
) -> None:
    if per_backend:
        chosen = {"name": "echo-v1", "weight": 1, **edits}
        entry = {"match": ANY, "route": {"weighted_clusters": {"clusters": [chosen]}}}
    else:
        entry = {"match": ANY, "route": V1, **edits}
    asked = request("/", *lines)
    route = decode(entry).match(asked)
    assert route is not None
    made = rewritten(asked, route, 0)
    names = {name.decode() for name, _ in made.fields}
    assert {name: ",".join(values(made.fields, name)) for name in names} == sent


REPLACE_FULL = {"regex_rewrite": {"pattern": {"regex": "^/.*$"}, "substitution": "/one"}}
#: A prefix that is replaced by nothing: what is left has to begin with a slash.
STRIP = {"regex_rewrite": {"pattern": {"regex": r"^/strip(/(.*))?$"}, "substitution": r"/\2"}}


@pytest.mark.parametrize(
    ("match", "action", "path", "sent"),
    [
        ({"path_separated_prefix": "/prefix/one"}, {"prefix_rewrite": "/one"},
         "/prefix/one/two", "/one/two"),
        ({"path_separated_prefix": "/strip"}, STRIP, "/strip/three", "/three"),
        ({"path_separated_prefix": "/strip"}, STRIP, "/strip", "/"),
        ({"path_separated_prefix": "/strip"}, STRIP, "/strip/", "/"),
        ({"path_separated_prefix": "/full/one"}, REPLACE_FULL, "/full/one/two?q", "/one?q"),
    ],
)  # fmt: skip
def test_rewriting_paths(
    match: dict[str, Any], action: dict[str, Any], path: str, sent: str
) -> None:
    edits = {"request_headers_to_add": [option("x-set", "1", "OVERWRITE_IF_EXISTS_OR_ADD")]}
    asked = request(path)
    route = decode({"match": match, "route": {**V1, **action}, **edits}).match(asked)
    assert route is not None
    made = rewritten(asked, route, 0)
    assert made.path == sent.encode()
    assert values(made.fields, "x-set") == ["1"]


def test_weights() -> None:
    clusters = [{"name": "echo-v1", "weight": 70}, {"name": "echo-v2", "weight": 30}]
    table = decode({"match": ANY, "route": {"weighted_clusters": {"clusters": clusters}}})
    route = table.match(request())
    assert route is not None
    assert isinstance(route.action, Forward)
    rng = Random(1)
    counts = Counter(route.action.choose(rng.random()) for _ in range(500))
    assert abs(counts[0] - 350) <= 25


def test_grpc_weights_and_headers() -> None:
    clusters = [{"name": "v1", "weight": 70}, {"name": "v2", "weight": 30}]
    action = {"weighted_clusters": {"clusters": clusters}}
    match = {"path": "/gatewayapi.Echo/Echo", "grpc": {}}
    asked = request(
        "/gatewayapi.Echo/Echo",
        "content-type: application/grpc",
        "x-header-add: some",
        method="POST",
    )
    route = decode({"match": match, "route": action, **ADD}).match(asked)
    assert route is not None
    made = rewritten(asked, route, 1)
    assert values(made.fields, "x-header-add") == ["some", "add"]


def test_named_rules_route_like_others() -> None:
    table = decode(
        {"name": "named", "match": {"path": "/named"}, "route": V1},
        {"match": {"path": "/unnamed"}, "route": V2},
    )
    assert (cluster(table, "/named"), cluster(table, "/unnamed")) == ("echo-v1", "echo-v2")
