from __future__ import annotations

from typing import Any

import pytest

from tests.waypoint.requests import request, values
from waypoint.messages import Response
from waypoint.routing import (
    Facts,
    Forward,
    Mirror,
    Redirect,
    Route,
    WeightedCluster,
    edited,
    mirrored,
    rewritten,
)
from waypoint.routing.edits import Action, Addition, Edits
from waypoint.routing.rewrites import (
    HostFromHeader,
    HostFromPath,
    HostLiteral,
    PatternRewrite,
    PrefixRewrite,
)
from waypoint.routing.templates import parse_template
from waypoint.routing.text import Substitution


def adds(value: str) -> Edits:
    return Edits(add=(Addition(b"x", parse_template(value)),))


def to(**more: Any) -> Route:
    return Route("r", Forward((WeightedCluster("c", 1),), **more))


@pytest.mark.parametrize(
    ("rewrite", "path", "made"),
    [
        (PrefixRewrite(b"/new", 2), "/a/b?q", "/new/b?q"),
        (PrefixRewrite(b"/", 3), "/a/b", "/b"),
        (PrefixRewrite(b"/new", None), "/a/b?q", "/new?q"),
        (PatternRewrite(Substitution("^/a(/|$)", "/")), "/a", "/"),
        (PatternRewrite(Substitution("a", "b")), "/a?a", "/b?a"),
    ],
)
def test_paths(rewrite: Any, path: str, made: str) -> None:
    sent = rewritten(request(path, "x-envoy-original-path: /forged"), to(path=rewrite), 0)
    assert sent.path == made.encode()
    assert values(sent.fields, "x-envoy-original-path") == [path]


@pytest.mark.parametrize(
    ("rewrite", "made"),
    [
        (HostLiteral(b"b.test"), "b.test"),
        (HostFromHeader(b"to"), "first.test"),
        (HostFromHeader(b"none"), None),
        (HostFromHeader(b"empty"), None),
        (HostFromPath(Substitution("^/([a-z]+).*$", r"\1.test")), "p.test"),
    ],
)
def test_hosts(rewrite: Any, made: str | None) -> None:
    asked = request("/p/q?r", "to: first.test", "to: second.test", "empty:")
    sent = rewritten(asked, to(host=rewrite, tell_forwarded_host=True), 0)
    assert sent.authority.decode() == (made or "a.test")
    told = ["a.test"] if made else []
    assert values(sent.fields, "x-forwarded-host") == told
    assert values(sent.fields, "x-envoy-original-host") == told


def test_the_cluster_comes_first_and_rewrites_come_last() -> None:
    clusters = (
        WeightedCluster("a", 1, adds("1 %REQ(:authority)%"), authority=b"cluster.test"),
        WeightedCluster("b", 1),
    )
    action = Forward(clusters, path=PrefixRewrite(b"/new", 1), host=HostLiteral(b"b.test"))
    levels = (adds("2 %REQ(:authority)%%REQ(:path)%"), adds("3"))
    route = Route("r", action, request_edits=levels)
    sent = rewritten(request("/p"), route, 0)
    assert values(sent.fields, "x") == ["1 a.test", "2 cluster.test/p", "3"]
    assert (sent.authority, sent.path) == (b"b.test", b"/newp")
    sent = rewritten(request("/p"), route, 1)
    assert values(sent.fields, "x") == ["2 a.test/p", "3"]


def test_a_request_that_nothing_is_done_to() -> None:
    asked = request("/p?q", "a: 1", "a: 2")
    assert rewritten(asked, to(), 0) == asked
    assert rewritten(asked, Route("r", Redirect()), 0) == asked


def test_responses() -> None:
    cluster = WeightedCluster("a", 1, response_edits=adds("1"))
    route = Route("r", Forward((cluster,)), response_edits=(adds("2 %REQ(a)% %PROTOCOL%"),))
    facts = Facts(protocol="HTTP/2")
    made = edited(Response(201, ((b"y", b"0"),)), route, 0, request("/", "a: b"), facts)
    assert made == Response(201, ((b"y", b"0"), (b"x", b"1"), (b"x", b"2 b HTTP/2")))
    redirect = Route("r", Redirect(), response_edits=(adds("3"),))
    assert edited(Response(301, ()), redirect, 0, request()).fields == ((b"x", b"3"),)


def test_what_depends_on_the_connection_is_known() -> None:
    own = adds("%DOWNSTREAM_PEER_URI_SAN%")
    cluster = WeightedCluster("a", 1, response_edits=own)
    assert Route("r", Forward((cluster,))).reads_connection
    assert Route("r", Redirect(), request_edits=(adds("1"), own)).reads_connection
    assert not Route("r", Redirect(), request_edits=(adds("%REQ(a)%"),)).reads_connection


@pytest.mark.parametrize(
    ("host", "suffix", "made"),
    [
        ("a.test", True, "a.test-shadow"),
        ("a.test:80", True, "a.test-shadow:80"),
        ("[::1]", True, "[::1]-shadow"),
        ("a.test", False, "a.test"),
    ],
)
def test_mirrors(host: str, suffix: bool, made: str) -> None:
    assert mirrored(request(host=host), Mirror("m", suffix=suffix)).authority.decode() == made


def test_set_replaces_what_the_client_sent() -> None:
    edits = Edits(add=(Addition(b"x", parse_template("1"), Action.SET),))
    route = Route("r", Forward((WeightedCluster("c", 1),)), request_edits=(edits,))
    assert rewritten(request("/", "x: 2", "x: 3"), route, 0).fields == ((b"x", b"1"),)
