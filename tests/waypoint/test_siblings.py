"""Plans made of others', beside plans made from nothing."""

from __future__ import annotations

import random
from typing import Any

import pytest
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)
from google.protobuf import json_format

from tests.waypoint.mesh import (
    filters,
    host,
    hostname,
    kernel_answer,
    routes,
    running,
    service,
    to,
)
from tests.waypoint.wire import request
from waypoint.filters.decode import TYPE_URL as FILTERS_URL
from waypoint.http2.heads import read_request
from waypoint.layers.request import parse_request
from waypoint.plan import Plan, plan_request
from waypoint.planner import Planner
from waypoint.routing import Facts, Source
from waypoint.siblings import MOST, Siblings
from waypoint.targets import Target
from waypoint.worker import Caller
from ztunnel_compat.h2.fields import Family, Fields, Head
from ztunnel_compat.model import Extension
from ztunnel_compat.peer import parse_peer

FIELDS = [
    (b":method", b"GET"),
    (b":path", b"/"),
    (b":scheme", b"http"),
    (b":authority", b"web"),
    (b"user-agent", b"test"),
    (b"x-user", b"a"),
]
FACTS = Facts("HTTP/2", ("10.0.0.1", 1), ("10.0.0.2", 80), "spiffe://td/ns/n/sa/s")
SOURCE = Source("n", {})


def rules(action: str, permission: dict[str, Any]) -> rbac_pb2.RBAC:
    """A policy for everybody."""
    policy = {"permissions": [permission], "principals": [{"any": True}]}
    message = rbac_pb2.RBAC()
    json_format.ParseDict({"rules": {"action": action, "policies": {"p": policy}}}, message)
    return message


PATH = {"urlPath": {"path": {"prefix": "/a"}}}
PSEUDO = {"header": {"name": ":path", "stringMatch": {"contains": "b"}}}
POLICIES = {
    "none": [],
    "any": [rules("ALLOW", {"any": True})],
    "identity": [rules("DENY", {"notRule": {"any": True}})],
    "refusing": [rules("DENY", {"any": True})],
    "header": [rules("ALLOW", {"header": {"name": "x-user", "presentMatch": True}})],
    "path": [rules("ALLOW", PATH)],
    "not path": [rules("DENY", {"andRules": {"rules": [{"notRule": PATH}]}})],
    "pseudo": [rules("DENY", PSEUDO), rules("ALLOW", {"any": True})],
}


def route(path: dict[str, str], action: dict[str, Any] | None = None) -> dict[str, object]:
    """A route; action: in place of going on as it is."""
    return {"match": path, **(action or {"route": to("web")})}


ROUTES = [
    route({"path": "/a/b"}),
    route({"pathSeparatedPrefix": "/a"}),
    route({"pathSeparatedPrefix": "/e"}, {"redirect": {"pathRedirect": "/x"}}),
    route({"pathSeparatedPrefix": "/f"}, {"directResponse": {"status": 204}}),
    route({"pathSeparatedPrefix": "/g"}, {"route": {**to("web"), "prefixRewrite": "/"}}),
    route({"pathSeparatedPrefix": "/h"})
    | {"requestHeadersToAdd": [{"header": {"key": "x-p", "value": "%REQ(:PATH)%"}}]},
    route({"safeRegex": {"regex": "/[bc]+"}}),
    {
        "match": {"prefix": "/", "queryParameters": [{"name": "q", "presentMatch": True}]},
        "route": to("web", timeout="1s"),
    },
    route({"prefix": "/d"}),
]


def asked(family: Family, path: bytes) -> Fields:
    return family.head(path).fields


def family() -> Family:
    return Family(Head(FIELDS, 0, method=b"GET"), 1, 100)


def shown(plan: Plan) -> tuple[object, ...]:
    """All of a plan that is a value."""
    ways = [(w.cluster, w.request, w.head, fields_of(w.http2())) for w in plan.ways]
    return (plan.head, ways, plan.line, *plan[3:])


def fields_of(section: Any) -> tuple[object, ...]:
    return (section.path, list(section.around.before), list(section.around.after))


def made_of_another(
    siblings: Siblings, fields: Fields, target: Target, now: float = 0.0
) -> Plan | None:
    return siblings.plan(fields[1][1], target, SOURCE, now, None)


def from_nothing(fields: Fields, target: Target) -> Plan:
    head = read_request(fields, end=True)
    return plan_request(head, target, SOURCE, FACTS, http2=True)


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_plan_made_of_anothers_is_as_one_made_from_nothing(policy: str) -> None:
    draw = random.Random(policy)
    more = [filters("web", *POLICIES[policy])] if POLICIES[policy] else []
    async with running() as mesh:
        mesh.push(service("web", routes("web", host(*ROUTES)), *more))
        (target,) = (t for t in mesh.worker.targets.by_hash.values() if t.port == 80)
        assert not target.error
        kin, siblings = family(), Siblings()
        made = 0
        for _ in range(400):
            parts = [
                draw.choice([b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h", b"..", b"%2e"])
            ]
            parts += [draw.choice([b"a", b"b", b"x%d" % draw.randrange(9), b"", b"."])]
            path = b"/" + b"/".join(parts) + draw.choice([b"", b"", b"?q=1", b"?x"])
            fields = asked(kin, path)
            expected = from_nothing(fields, target)
            found = made_of_another(siblings, fields, target)
            if found is None:
                siblings.learn(expected)
            else:
                made += 1
                assert shown(found) == shown(expected), path
        assert (made > 50) is (policy not in {"path", "not path", "pseudo"}), made


async def test_a_push_is_a_new_start() -> None:
    async with running() as mesh:
        mesh.push(service("web", routes("web", host(*ROUTES))))
        (target,) = (t for t in mesh.worker.targets.by_hash.values() if t.port == 80)
        siblings, fields = Siblings(), asked(family(), b"/a/x")
        siblings.learn(from_nothing(fields, target))
        assert made_of_another(siblings, fields, target, 0.0) is not None
        mesh.push(service("web", routes("web", host(ROUTES[0]))))
        (other,) = (t for t in mesh.worker.targets.by_hash.values() if t.port == 80)
        assert other is not target
        assert made_of_another(siblings, fields, other, 0.0) is None
        siblings.learn(from_nothing(asked(family(), b"/a/b"), other))
        assert made_of_another(siblings, fields, target, 0.0) is None


async def test_plans_that_hold_for_a_while_are_made_anew() -> None:
    async with running() as mesh:
        mesh.push(service("web", routes("web", host(*ROUTES))))
        (target,) = (t for t in mesh.worker.targets.by_hash.values() if t.port == 80)
        siblings, fields = Siblings(), asked(family(), b"/a/x")
        siblings.learn(from_nothing(fields, target)._replace(until=10.0))
        assert made_of_another(siblings, fields, target, 9.0) is not None
        assert made_of_another(siblings, fields, target, 10.0) is None


async def test_a_path_that_makes_a_head_too_large_is_looked_at_anew() -> None:
    manager = HttpConnectionManager()
    manager.max_request_headers_kb.value = 1
    name = f"inbound-vip|80|filters|{hostname('web')}"
    bounds = Extension(name, FILTERS_URL, manager.SerializeToString())
    async with running() as mesh:
        mesh.push(service("web", routes("web", host(*ROUTES)), bounds))
        (target,) = (t for t in mesh.worker.targets.by_hash.values() if t.port == 80)
        siblings, kin = Siblings(), family()
        siblings.learn(from_nothing(asked(kin, b"/d"), target))
        assert (
            made_of_another(siblings, asked(kin, b"/d/" + b"x" * 500), target, 0.0) is not None
        )
        assert made_of_another(siblings, asked(kin, b"/d/" + b"x" * 1000), target, 0.0) is None


async def test_so_many_routes_are_remembered() -> None:
    async with running() as mesh:
        entries = [route({"path": f"/{n}"}) for n in range(MOST + 10)]
        mesh.push(service("web", routes("web", host(*entries))))
        (target,) = (t for t in mesh.worker.targets.by_hash.values() if t.port == 80)
        siblings, kin = Siblings(), family()
        for n in range(MOST + 10):
            siblings.learn(from_nothing(asked(kin, b"/%d" % n), target))
        assert len(siblings.plans) == 10


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("sanitized", [False, True])
async def test_over_http1_a_head_goes_on_as_it_came(policy: str, *, sanitized: bool) -> None:
    draw = random.Random(policy)
    lines = ["X-User: a", "Accept: */*"] + ["X-Forwarded-Client-Cert: URI=x"] * sanitized
    more = [filters("web", *POLICIES[policy])] if POLICIES[policy] else []
    async with running() as mesh:
        mesh.push(service("web", routes("web", host(*ROUTES)), *more))
        (target,) = (t for t in mesh.worker.targets.by_hash.values() if t.port == 80)
        planner = Planner(mesh.worker, caller())
        made = 0
        for _ in range(300):
            path = draw.choice(["/a", "/d", "/g", "/..", "/a/%2e"]) + f"/{draw.randrange(99)}"
            method = draw.choice(["GET", "GET", "GET", "POST"])
            raw = request(path, *lines, method=method)
            head = parse_request(raw)
            facts = planner.caller.facts("HTTP/1.1")
            expected = plan_request(head, target, planner.caller.source, facts)
            found = planner.plan(raw, target)
            made += found.request == ""
            assert shown(found) == shown(expected), raw
            sent = [way.http1() for way in found.ways]
            assert sent == [way.http1() for way in expected.ways], raw
        assert (made > 20) is (policy not in {"path", "not path", "pseudo"}), made


def caller() -> Caller:
    peer = parse_peer(kernel_answer(1, 1, "10.0.0.2", 80, 0))
    return Caller(peer, "spiffe://td/ns/n/sa/s", "- - -")
