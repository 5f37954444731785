from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC, RBACPerRoute
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_pb
from google.protobuf import json_format

from tests.waypoint.mesh import filters, host, routes, running, service, to
from tests.waypoint.wire import client, upstream
from waypoint.errors import RouteError
from waypoint.filters.chain import DISABLED
from waypoint.filters.rbac.decode import build, network_settings, override
from waypoint.filters.rbac.engine import Settings

ANY: dict[str, Any] = {"any": True}


def rbac(
    permission: dict[str, Any] = ANY, principal: dict[str, Any] = ANY, action: str = "ALLOW"
) -> RBAC:
    policy = {"permissions": [permission], "principals": [principal]}
    message = RBAC()
    json_format.ParseDict({"rules": {"action": action, "policies": {"p": policy}}}, message)
    return message


BAD: list[tuple[dict[str, Any], str]] = [
    ({"permission": {"matcher": {"name": "x"}}}, "permissions[0].matcher"),
    ({"permission": {"sourcedMetadata": {}}}, "permissions[0].sourced_metadata"),
    ({"permission": {}}, "permissions[0].rule is missing"),
    ({"permission": {"any": False}}, "permissions[0].any is false"),
    ({"permission": {"andRules": {}}}, "permissions[0].and_rules is empty"),
    ({"permission": {"urlPath": {}}}, "url_path.path.match_pattern is missing"),
    ({"permission": {"uriTemplate": {"name": "x"}}}, "no UriTemplateMatchConfig"),
    (
        {"permission": {"destinationIp": {"addressPrefix": "x"}}},
        "destination_ip.address_prefix",
    ),
    ({"permission": {"metadata": {"filter": "f"}}}, "filter or path is empty"),
    ({"principal": {"custom": {"name": "x"}}}, "principals[0].custom"),
    ({"principal": {}}, "identifier is missing"),
    (
        {"principal": {"filterState": {"key": "other", "stringMatch": {"exact": "x"}}}},
        "'other'",
    ),
    (
        {"principal": {"notId": {"header": {"name": "x", "stringMatch": {"custom": {}}}}}},
        "not_id.header.string_match.custom",
    ),
]


@pytest.mark.parametrize(("parts", "message"), BAD)
def test_what_is_not_honoured_is_named(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(RouteError) as raised:
        build("r", rbac(**parts).SerializeToString(), "at.")
    assert message in str(raised.value)
    assert str(raised.value).startswith("at.rules.policies[p].")


def test_other_parts_are_named() -> None:
    message = rbac()
    message.track_per_rule_stats = True
    with pytest.raises(RouteError, match="track_per_rule_stats"):
        build("r", message.SerializeToString(), "at.")
    message = rbac()
    message.rules.policies["p"].condition.SetInParent()
    with pytest.raises(RouteError, match="condition"):
        build("r", message.SerializeToString(), "at.")
    message = rbac()
    del message.rules.policies["p"].principals[:]
    with pytest.raises(RouteError, match="principals is empty"):
        build("r", message.SerializeToString(), "at.")


def test_a_route_may_turn_it_off() -> None:
    assert override(RBACPerRoute().SerializeToString(), "") == DISABLED
    found = override(RBACPerRoute(rbac=rbac()).SerializeToString(), "")
    assert isinstance(found, Settings)
    assert found.rules is not None


def test_bytes_have_no_requests() -> None:
    good = network_pb.RBAC(rules=rbac({"destinationPort": 80}).rules, stat_prefix="tcp.")
    assert network_settings(good.SerializeToString(), "").rules is not None
    path = {"notRule": {"orRules": {"rules": [{"urlPath": {"path": {"exact": "/"}}}]}}}
    bad = network_pb.RBAC(rules=rbac(path).rules, stat_prefix="tcp.")
    with pytest.raises(RouteError, match=r"policies\[p\]: path is HTTP's alone"):
        network_settings(bad.SerializeToString(), "")


async def test_plans_are_shared_as_long_as_nobody_asks_who_it_is() -> None:
    identity = {"authenticated": {"principalName": {"prefix": "spiffe://"}}}
    for principal, shared in ((ANY, 1), (identity, 0)):
        method = {"header": {"name": ":method", "stringMatch": {"exact": "GET"}}}
        async with running() as mesh, upstream() as server:
            mesh.push(service("web", filters("web", rbac(method, principal))))
            mesh.pod("web-1", "web", server.port)
            mesh.ask("web")
            async with client(mesh) as peer:
                for _ in range(3):
                    head, _body = await peer.get("/")
                    assert head.startswith(b"http/1.1 200")
            assert len(mesh.worker.memo.records) == shared
            assert mesh.worker.stats.filters == {"rbac.allowed": 3}


async def test_a_denial_is_answered_and_logged() -> None:
    async with running() as mesh, upstream() as server:
        name = RBAC.DESCRIPTOR.full_name
        off = {"@type": f"type.googleapis.com/{RBACPerRoute.DESCRIPTOR.full_name}"}
        open_route = {"match": {"prefix": "/open"}, "route": to("web")}
        rules = routes(
            "web",
            host(
                {**open_route, "typedPerFilterConfig": {name: off}},
                {"match": {"prefix": "/"}, "route": to("web")},
            ),
        )
        mesh.push(service("web", rules, filters("web", rbac(action="DENY"))))
        mesh.pod("web-1", "web", server.port)
        mesh.ask("web")
        async with client(mesh) as peer:
            head, body = await peer.get("/")
            assert head.startswith(b"http/1.1 403")
            assert body == b"RBAC: access denied"
            head, _ = await peer.get("/", "content-type: application/grpc")
            assert b"grpc-status: 7" in head
            assert b"grpc-message: rbac: access denied" in head
            assert (await peer.get("/open"))[1] == b"hello"
        lines = await mesh.lines(3)
        assert " 403 - rbac_access_denied_matched_policy[p] " in lines[0]
        assert mesh.worker.stats.filters == {"rbac.denied": 2}
