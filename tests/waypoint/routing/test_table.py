from __future__ import annotations

import random
from collections import Counter

import pytest

from waypoint.errors import RouteError
from waypoint.layers.request import parse_request
from waypoint.messages import Request
from waypoint.routing import (
    DirectResponse,
    Forward,
    Route,
    RouteTable,
    VirtualHost,
    WeightedCluster,
    default_table,
    dump_table,
)
from waypoint.routing.conditions import HeaderMatch, Match, QueryMatch
from waypoint.routing.text import Kind, TextMatch

OK = DirectResponse(200)


def head(target: str = "/", host: str = "a", *lines: str, method: str = "GET") -> Request:
    block = "".join(f"{line}\r\n" for line in lines)
    text = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{block}\r\n"
    return parse_request(text.encode()).request


def hosts(*domains: tuple[str, ...], ignore_port: bool = False) -> RouteTable:
    made = [VirtualHost(d[0], d, (Route(d[0], OK),)) for d in domains]
    return RouteTable("t", tuple(made), ignore_port)


def name(table: RouteTable, request: Request) -> str | None:
    route = table.match(request)
    return route.name if route else None


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("a.b.c", "a.b.c"),
        ("A.B.C", "a.b.c"),
        ("x.b.c", "*.b.c"),
        ("y.x.b.c", "*.x.b.c"),
        ("b.c", "*"),
        (".b.c", "*"),
        ("-v.b.c", "*.b.c"),
        ("pre.x", "pre.*"),
        ("pre.fix.x", "pre.fix.*"),
        ("pre.", "*"),
        ("a.b.c:80", "*"),
        ("p:80", "p:80"),
    ],
)
def test_the_most_specific_host(host: str, found: str) -> None:
    table = hosts(
        ("*",), ("*.b.c",), ("pre.*",), ("pre.fix.*",), ("*.x.b.c",), ("a.b.c",), ("p:80",)
    )
    assert name(table, head(host=host)) == found


def test_ports_can_be_ignored() -> None:
    table = hosts(("a",), ("[::1]",), ignore_port=True)
    assert name(table, head(host="a:8080")) == "a"
    assert name(table, head(host="[::1]:8080")) == "[::1]"
    assert name(table, head(host="[::1]")) == "[::1]"
    assert name(hosts(("a",)), head(host="a:8080")) is None


@pytest.mark.parametrize("domains", [("a", "A"), ("a*b",), ("*a*",), ("**",)])
def test_domains_that_mean_nothing(domains: tuple[str, ...]) -> None:
    with pytest.raises(RouteError):
        hosts(domains)


def test_two_hosts_can_t_have_the_same_domain() -> None:
    with pytest.raises(RouteError, match="taken"):
        hosts(("a",), ("b", "a"))


def table(*routes: Route) -> RouteTable:
    return RouteTable("t", (VirtualHost("h", ("*",), routes),))


def test_the_first_route_that_matches() -> None:
    routes = table(
        Route("post", OK, Match(TextMatch(Kind.PREFIX, "/a"),
              (HeaderMatch(":method", TextMatch(Kind.EXACT, "POST")),))),
        Route("query", OK, Match(TextMatch(Kind.EXACT, "/a"), (),
              (QueryMatch("v", TextMatch(Kind.EXACT, "2")),))),
        Route("jason", OK,
              Match(None, (HeaderMatch("end-user", TextMatch(Kind.EXACT, "jason")),))),
        Route("exact", OK, Match(TextMatch(Kind.EXACT, "/a"))),
        Route("regex", OK, Match(TextMatch(Kind.REGEX, "/a/[0-9]+"))),
        Route("prefix", OK, Match(TextMatch(Kind.PATH_PREFIX, "/a"))),
    )  # fmt: skip
    assert name(routes, head("/a", method="POST")) == "post"
    assert name(routes, head("/a?v=2")) == "query"
    assert name(routes, head("/a?v=3")) == "exact"
    assert name(routes, head("/z", "a", "End-User: jason")) == "jason"
    assert name(routes, head("/a/42?x")) == "regex"
    assert name(routes, head("/a/42x")) == "prefix"
    assert name(routes, head("/ab")) is None


def test_no_hosts_match_nothing() -> None:
    assert RouteTable("t", ()).match(head()) is None


def test_weights() -> None:
    forward = Forward(tuple(WeightedCluster(n, w) for n, w in [("a", 1), ("b", 0), ("c", 4)]))
    draw = random.Random(1)
    counts = Counter(forward.choose(draw.random()) for _ in range(10_000))
    assert set(counts) == {0, 2}
    assert abs(counts[0] - 2000) < 150
    assert forward.choose(0.0) == 0
    assert forward.choose(0.19999) == 0
    assert forward.choose(0.2) == 2
    assert forward.choose(1 - 2**-53) == 2


def test_weights_of_nothing() -> None:
    for clusters in ((), (WeightedCluster("a", 0),)):
        with pytest.raises(RouteError):
            Forward(clusters)


def test_the_default_sends_everything_to_the_service() -> None:
    made = default_table("c")
    assert made.cluster_names() == {"c"}
    assert name(made, head("/x", "any:1")) == "default"
    assert name(made, head("*", method="OPTIONS")) == "default"


def test_a_table_can_be_read() -> None:
    route = Route(
        "r", Forward((WeightedCluster("a", 1),), 2.5),
        Match(TextMatch(Kind.PREFIX, "/a"), (HeaderMatch("x", TextMatch(Kind.EXACT, "1")),)),
    )  # fmt: skip
    assert dump_table(table(route, Route("d", OK)))["virtual_hosts"] == [
        {
            "name": "h",
            "domains": ["*"],
            "routes": [
                {
                    "name": "r",
                    "match": ["path prefix '/a'", "x exact '1'"],
                    "clusters": {"a": 1},
                    "timeout": 2.5,
                },
                {"name": "d", "match": [], "direct_response": 200},
            ],
        }
    ]
