from __future__ import annotations

from typing import Any

import pytest
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.json_format import MessageToDict

from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    GATEWAY,
    Mesh,
    deployment,
    route,
    service,
)

WEB = "backendRefs: [{name: web, port: 80}]"
TYPE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
CLUSTER = "outbound|80||web.shop.svc.cluster.local"


def configured(
    *routes: str, services: tuple[str, ...] = ("web", "v1", "v2")
) -> RouteConfiguration:
    mesh = Mesh(AMBIENT, GATEWAY, *(service(name) for name in services), *routes)
    (extension,) = mesh.service("web").extensions
    assert extension.config.type_url == TYPE
    found = RouteConfiguration.FromString(extension.config.value)
    assert extension.name == found.name == "inbound-vip|80|http|web.shop.svc.cluster.local"
    return found


def routes_of(found: RouteConfiguration) -> list[dict[str, object]]:
    """The routes, without what all of them have (test_defaults)."""
    routes = [MessageToDict(each) for each in found.virtual_hosts[0].routes]
    for each in routes:
        for name in ("maxGrpcTimeout", "retryPolicy", "upgradeConfigs"):
            each.get("route", {}).pop(name, None)
    return routes


def test_a_split() -> None:
    rules = (
        "- backendRefs: [{name: v1, port: 80, weight: 80}, {name: v2, port: 80, weight: 20}]"
    )
    assert routes_of(configured(route(rules))) == [
        {
            "name": "shop.web.0",
            "match": {"prefix": "/"},
            "route": {
                "weightedClusters": {
                    "clusters": [
                        {"name": "outbound|80||v1.shop.svc.cluster.local", "weight": 80},
                        {"name": "outbound|80||v2.shop.svc.cluster.local", "weight": 20},
                    ]
                },
                "timeout": "0s",
            },
        }
    ]


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("{path: {type: Exact, value: /a}}", {"path": "/a"}),
        ("{path: {value: /a/}}", {"pathSeparatedPrefix": "/a"}),
        ("{path: {value: /}}", {"prefix": "/"}),
        (
            "{path: {type: RegularExpression, value: '/a+'}}",
            {"safeRegex": {"regex": "/a+"}},
        ),
        (
            "{method: POST, headers: [{name: X-User, value: jason}]}",
            {
                "prefix": "/",
                "headers": [
                    {"name": ":method", "stringMatch": {"exact": "POST"}},
                    {"name": "x-user", "stringMatch": {"exact": "jason"}},
                ],
            },
        ),
        (
            "{queryParams: [{name: q, type: RegularExpression, value: 'x.*'}]}",
            {
                "prefix": "/",
                "queryParameters": [
                    {"name": "q", "stringMatch": {"safeRegex": {"regex": "x.*"}}}
                ],
            },
        ),
    ],
)
def test_matches(match: str, expected: dict[str, object]) -> None:
    (found,) = routes_of(configured(route(f"- matches: [{match}]\n  {WEB}")))
    assert found["match"] == expected


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("{}", {"cookie": {"name": "tandem-shop.web.0", "path": "/"}}),
        (
            "{sessionName: a, absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}}",
            {"cookie": {"name": "a", "ttl": "3600s", "path": "/"}},
        ),
        ("{sessionName: X-A, type: Header}", {"name": "X-A"}),
    ],
)
def test_session_persistence(said: str, state: dict[str, object]) -> None:
    rule = f"- sessionPersistence: {said}\n  backendRefs: [{{name: web, port: 80}}]"
    (found,) = routes_of(configured(route(rule)))
    own: Any = found["typedPerFilterConfig"]
    session = own["envoy.filters.http.stateful_session"]["statefulSession"]["sessionState"]
    config = session["typedConfig"]
    assert config.pop("@type").endswith("BasedSessionState")
    assert config == state


@pytest.mark.parametrize("kind", ["Cookie", "Header"])
def test_session_persistence_that_ends_when_nobody_asks(kind: str) -> None:
    said = f"{{type: {kind}, idleTimeout: 1m30s}}"
    rule = f"- sessionPersistence: {said}\n  backendRefs: [{{name: web, port: 80}}]"
    (found,) = routes_of(configured(route(rule)))
    assert found["metadata"] == {
        "filterMetadata": {"tandem.io/session": {"idle_seconds": 90.0}}
    }


def test_the_most_specific_match_comes_first() -> None:
    matches = [
        "{path: {value: /}}",
        "{path: {value: /a}}",
        "{path: {value: /a/b}}",
        "{path: {type: RegularExpression, value: '/r.*'}}",
        "{path: {type: Exact, value: /a}}",
        "{path: {value: /a}, method: GET}",
        "{path: {value: /a}, headers: [{name: x, value: y}]}",
        "{path: {value: /a}, headers: [{name: x, value: y}, {name: z, value: y}]}",
        "{path: {value: /a}, queryParams: [{name: x, value: y}]}",
    ]
    rules = "\n".join(f"- matches: [{match}]\n  {WEB}" for match in matches)
    order = [
        str(each["name"]).rpartition(".")[2] for each in routes_of(configured(route(rules)))
    ]
    assert order == ["4", "3", "2", "5", "7", "6", "8", "1", "0"]


def test_routes_of_one_service_are_merged_by_name_among_equals() -> None:
    found = configured(
        route(f"- {WEB}", name="b"),
        route(f"- {WEB}\n- matches: [{{path: {{value: /x}}}}]\n  {WEB}", name="a"),
    )
    assert [each["name"] for each in routes_of(found)] == ["shop.a.1", "shop.a.0", "shop.b.0"]


def test_among_equals_all_rules_of_the_first_route_come_first() -> None:
    found = configured(
        route(f"- {WEB}\n- {WEB}", name="b"), route(f"- {WEB}\n- {WEB}", name="a")
    )
    names = [each["name"] for each in routes_of(found)]
    assert names == ["shop.a.0", "shop.a.1", "shop.b.0", "shop.b.1"]


def test_a_rule_with_several_matches_is_several_routes() -> None:
    found = configured(route(f"- matches: [{{path: {{value: /x}}}}, {{method: GET}}]\n  {WEB}"))
    assert [each["name"] for each in routes_of(found)] == ["shop.web.0", "shop.web.0"]


def test_timeout() -> None:
    (found,) = routes_of(configured(route(f"- timeouts: {{request: 1500ms}}\n  {WEB}")))
    assert found["route"] == {"cluster": CLUSTER, "timeout": "1.500s"}


@pytest.mark.parametrize(
    "backends",
    [
        "[]",
        "[{name: gone, port: 80}]",
        "[{name: v1, port: 81}]",
        "[{name: v1, port: 80, weight: 0}]",
        "[{name: v1, port: 80, namespace: elsewhere}]",
    ],
)
def test_a_rule_without_a_valid_backend_answers_500(backends: str) -> None:
    (found,) = routes_of(configured(route(f"- backendRefs: {backends}")))
    assert found["directResponse"]["status"] == 500  # type: ignore[index]


def test_the_share_of_an_invalid_backend_reaches_nobody() -> None:
    names = ("v1, weight: 1", "gone, weight: 1", "v2, weight: 0")
    rules = f"- backendRefs: [{', '.join(f'{{port: 80, name: {name}}}' for name in names)}]"
    (found,) = routes_of(configured(route(rules)))
    clusters = found["route"]["weightedClusters"]["clusters"]  # type: ignore[index]
    assert [(each["name"], each["weight"]) for each in clusters] == [
        ("outbound|80||v1.shop.svc.cluster.local", 1),
        ("outbound|80||gone.shop.svc.cluster.local.invalid", 1),
    ]
    code = found["route"]["clusterNotFoundResponseCode"]  # type: ignore[index]
    assert code == "INTERNAL_SERVER_ERROR"


def test_routes_go_to_waypoints_only_and_daemons_see_no_edit() -> None:
    parts = (AMBIENT, GATEWAY, service("web"), deployment("web"))
    mesh = Mesh(*parts, route(f"- {WEB}"))
    name = "shop/web.shop.svc.cluster.local"
    plain, routed = mesh.view.contents.ztunnel[name], mesh.view.contents.waypoint[name]
    assert plain.version != routed.version
    mesh.write(*parts, route(f"- timeouts: {{request: 1s}}\n  {WEB}"))
    assert (
        mesh.view.contents.ztunnel[name] is plain or mesh.view.contents.ztunnel[name] == plain
    )
    assert mesh.view.contents.waypoint[name] != routed
