"""What EnvoyFilters make of a service's filters and routes."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import (
    LocalRateLimit,
)
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as pb,
)

from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    GATEWAY,
    Mesh,
    complaints,
    deployment,
    documents,
    istio,
    service,
)
from tests.waypoint.mesh import hostname, running
from tests.waypoint.mesh import service as serving
from tests.waypoint.wire import client, request, upstream
from waypoint.decode import decode_table
from waypoint.filters.buffer import Buffer
from waypoint.filters.decode import TYPE_URL as FILTERS_URL
from waypoint.filters.decode import decode_chain
from waypoint.filters.kinds import KINDS
from ztunnel_compat.model import Extension

WEB = "targetRefs: [{group: '', kind: Service, name: web}]"
LIMIT = "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
SUB = "listener: {filterChain: {filter: {subFilter: {name: %s}}}}"


def envoy_filter(
    *patches: str, name: str = "f", namespace: str = "shop", more: str = WEB
) -> str:
    """An EnvoyFilter; patches: YAML in flow style."""
    rows = "\n".join(f"- {patch}" for patch in patches)
    text = istio(
        "networking", "EnvoyFilter", name, f"{more}\nconfigPatches:\n{rows}", namespace, ""
    )
    return text.replace("istio.io/v1\n", "istio.io/v1alpha3\n")


def value(name: str, more: str = "stat_prefix: x") -> str:
    return f'{{name: {name}, typed_config: {{"@type": {LIMIT}, {more}}}}}'


def on_filters(
    operation: str, name: str, anchor: str = "", more: str = "stat_prefix: x"
) -> str:
    match = SUB % anchor if anchor else "context: ANY"
    given = "" if operation == "REMOVE" else f", value: {value(name, more)}"
    patch = f"{{operation: {operation}{given}}}"
    return f"{{applyTo: HTTP_FILTER, match: {{{match}}}, patch: {patch}}}"


def on_routes(apply_to: str, given: str, match: str = "") -> str:
    return (
        f"{{applyTo: {apply_to}, match: {{{match}}}, "
        f"patch: {{operation: MERGE, value: {{{given}}}}}}}"
    )


def mesh_of(*parts: str) -> Mesh:
    return Mesh(AMBIENT, GATEWAY, service("web"), service("api"), deployment("web"), *parts)


def carried(mesh: Mesh, name: str, message: Any, of: str = "web") -> Any:
    for extension in mesh.service(of).extensions:
        if extension.name.startswith(f"inbound-vip|80|{name}|"):
            extension.config.Unpack(message)
    return message


def filters(mesh: Mesh, of: str = "web") -> list[Any]:
    manager = carried(mesh, "filters", pb.HttpConnectionManager(), of)
    return list(manager.http_filters)


def routes(mesh: Mesh) -> RouteConfiguration:
    return carried(mesh, "http", RouteConfiguration())


@pytest.mark.parametrize(
    ("patches", "names"),
    [
        ([("ADD", "a", ""), ("ADD", "b", "")], "ab"),
        ([("ADD", "a", ""), ("INSERT_FIRST", "b", "")], "ba"),
        ([("ADD", "a", ""), ("ADD", "c", ""), ("INSERT_BEFORE", "b", "c")], "abc"),
        ([("ADD", "a", ""), ("ADD", "c", ""), ("INSERT_AFTER", "b", "a")], "abc"),
        ([("ADD", "a", ""), ("INSERT_BEFORE", "b", "envoy.filters.http.router")], "ab"),
        ([("ADD", "a", ""), ("INSERT_BEFORE", "b", "gone")], "a"),
        ([("ADD", "a", ""), ("INSERT_BEFORE", "b", ""), ("INSERT_AFTER", "c", "")], "bac"),
        ([("ADD", "a", ""), ("ADD", "b", ""), ("REMOVE", "", "a")], "b"),
        ([("ADD", "a", ""), ("REPLACE", "b", "a")], "b"),
        ([("ADD", "a", ""), ("ADD", "a", "")], "aa"),
    ],
)
def test_filters_get_their_places(patches: list[tuple[str, str, str]], names: str) -> None:
    mesh = mesh_of(envoy_filter(*(on_filters(*patch) for patch in patches)))
    assert "".join(each.name for each in filters(mesh)) == names
    assert filters(mesh, "api") == []


def test_a_merge_changes_what_it_says_and_no_more() -> None:
    bucket = "token_bucket: {max_tokens: 5, fill_interval: 60s}"
    mesh = mesh_of(
        envoy_filter(
            on_filters("ADD", "a", more=f"stat_prefix: x, {bucket}"),
            on_filters("MERGE", "a", "a", more="token_bucket: {fill_interval: 0.5s}"),
        )
    )
    made = LocalRateLimit()
    filters(mesh)[0].typed_config.Unpack(made)
    assert (made.stat_prefix, made.token_bucket.max_tokens) == ("x", 5)
    assert made.token_bucket.fill_interval.ToMilliseconds() == 500


def test_a_typed_struct_is_the_message_that_it_names() -> None:
    struct = (
        '{"@type": type.googleapis.com/udpa.type.v1.TypedStruct, '
        f"type_url: {LIMIT}, value: {{stat_prefix: told}}}}"
    )
    patch = f"{{operation: ADD, value: {{name: a, typed_config: {struct}}}}}"
    mesh = mesh_of(envoy_filter(f"{{applyTo: HTTP_FILTER, patch: {patch}}}"))
    made = LocalRateLimit()
    assert filters(mesh)[0].typed_config.Unpack(made)
    assert made.stat_prefix == "told"


def test_the_root_namespace_comes_first_then_priority_then_name() -> None:
    of_class = (
        "targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, "
        "name: tandem-waypoint}]"
    )
    mesh = mesh_of(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system}",
        envoy_filter(on_filters("ADD", "z"), name="a", more=f"priority: 5\n{WEB}"),
        envoy_filter(on_filters("ADD", "y"), name="c"),
        envoy_filter(on_filters("ADD", "x"), name="b", more=f"priority: -1\n{WEB}"),
        envoy_filter(
            on_filters("ADD", "w"),
            name="z",
            namespace="istio-system",
            more=f"priority: 9\n{of_class}",
        ),
    )
    assert [each.name for each in filters(mesh)] == ["w", "x", "y", "z"]
    assert [each.name for each in filters(mesh, "api")] == ["w"]


def test_a_gateway_means_all_that_it_serves() -> None:
    gateway = "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}]"
    mesh = mesh_of(envoy_filter(on_filters("ADD", "a"), more=gateway))
    assert [len(filters(mesh, each)) for each in ("web", "api")] == [1, 1]
    pods = [each for each in mesh.service("waypoint").extensions if "pod" in each.name]
    manager = pb.HttpConnectionManager()
    assert pods[0].config.Unpack(manager)
    assert [each.name for each in manager.http_filters] == ["a"]


BUFFER = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer"


async def test_bodies_may_be_bounded_and_routes_have_bounds_of_their_own() -> None:
    name = "envoy.filters.http.buffer"
    given = f'{{name: {name}, typed_config: {{"@type": {BUFFER}, max_request_bytes: 10}}}}'
    own = f'{{"@type": {BUFFER}PerRoute, buffer: {{max_request_bytes: 20}}}}'
    mesh = mesh_of(
        envoy_filter(
            f"{{applyTo: HTTP_FILTER, patch: {{operation: ADD, value: {given}}}}}",
            on_routes("HTTP_ROUTE", f"typed_per_filter_config: {{{name}: {own}}}"),
        )
    )
    manager = carried(mesh, "filters", pb.HttpConnectionManager())
    (placed,) = decode_chain(manager.SerializeToString(), KINDS).filters
    assert placed.filter == Buffer(name, 10)
    table = decode_table(routes(mesh).SerializeToString(), KINDS)
    (route,) = table.hosts[0].routes
    assert route.overrides == {name: 20}
    there = Extension(
        f"inbound-vip|80|filters|{hostname('web')}", FILTERS_URL, manager.SerializeToString()
    )
    async with running() as waypoint, upstream() as server:
        waypoint.push(serving("web", there))
        waypoint.pod("web-1", "web", server.port)
        waypoint.ask("web")
        for size, status in ((10, b"200"), (11, b"413")):
            async with client(waypoint) as peer:
                await peer.send(request("/", f"Content-Length: {size}", method="POST"))
                await peer.send(b"x" * size)
                head, _ = await peer.response()
                assert head.startswith(b"http/1.1 " + status)


PER_FILTER = f'typed_per_filter_config: {{f: {{"@type": {LIMIT}, stat_prefix: %s}}}}'
LIMITS = "rate_limits: [{actions: [{remote_address: {}}]}]"


def test_settings_are_merged_where_they_are_meant() -> None:
    mesh = mesh_of(
        envoy_filter(
            on_routes("ROUTE_CONFIGURATION", PER_FILTER % "wide"),
            on_routes("VIRTUAL_HOST", f"{PER_FILTER % 'host'}, {LIMITS}"),
            on_routes(
                "HTTP_ROUTE",
                f"route: {{{LIMITS}}}",
                "routeConfiguration: {portNumber: 80, vhost: {route: {name: default}}}",
            ),
            on_routes(
                "HTTP_ROUTE",
                PER_FILTER % "none",
                "routeConfiguration: {vhost: {route: {name: other}}}",
            ),
        )
    )
    made = routes(mesh)
    (host,) = made.virtual_hosts
    (route,) = host.routes
    assert set(made.typed_per_filter_config) == set(host.typed_per_filter_config) == {"f"}
    assert not route.typed_per_filter_config
    assert len(host.rate_limits) == len(route.route.rate_limits) == 1
    assert route.route.cluster == "outbound|80||web.shop.svc.cluster.local"
    (told,) = [p for p in mesh.view.problems if "matches nothing" in p.message]
    assert told.field == "spec.configPatches[3]"


@pytest.mark.parametrize(
    ("match", "meant"),
    [
        ("waypoint: {portNumber: 80}", True),
        ("waypoint: {portNumber: 81}", False),
        ("waypoint: {route: {name: other}}", False),
        ("routeConfiguration: {name: inbound-vip|80|http|web.shop.svc.cluster.local}", True),
        ("routeConfiguration: {name: other}", False),
        ("routeConfiguration: {vhost: {domainName: '*'}}", True),
        ("routeConfiguration: {vhost: {domainName: web}}", False),
        ("routeConfiguration: {vhost: {name: web}}", False),
        ("routeConfiguration: {vhost: {route: {action: ROUTE}}}", True),
        ("routeConfiguration: {vhost: {route: {action: REDIRECT}}}", False),
    ],
)
def test_matches_are_honoured(match: str, meant: bool) -> None:
    patch = on_routes("HTTP_ROUTE", PER_FILTER % "x", match)
    mesh = mesh_of(envoy_filter(patch))
    assert bool(routes(mesh).virtual_hosts) is meant


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        (on_filters("ADD", "a").replace(LIMIT, "x/envoy.Lua"), "patch.value", "'envoy.Lua'"),
        (on_filters("ADD", "a", more="stat_prefx: x"), "patch.value", "stat_prefx"),
        (on_filters("REMOVE", ""), "match", "REMOVE needs the filter's name"),
        ("{applyTo: LISTENER, patch: {operation: ADD}}", "applyTo", "not supported: LISTENER"),
        (on_routes("HTTP_ROUTE", "redirect: {}"), "patch.value", "redirect: not supported"),
        (on_routes("HTTP_ROUTE", "route: {timeout: 5s}"), "patch.value", "route.timeout: not"),
        (
            on_routes("HTTP_ROUTE", PER_FILTER % "x").replace("MERGE", "REMOVE"),
            "patch.operation",
            "'REMOVE' is none of MERGE",
        ),
        (
            on_routes("HTTP_ROUTE", PER_FILTER % "x", "routeConfiguration: {gateway: a/b}"),
            "match.routeConfiguration.gateway",
            "not supported",
        ),
        (
            on_filters("ADD", "a").replace("context: ANY", "context: GATEWAY"),
            "match.context",
            "without effect: GATEWAY is no waypoint",
        ),
        (
            on_filters("ADD", "a").replace("context: ANY", "listener: {name: x}"),
            "match.listener.name",
            "a waypoint's listener is main_internal",
        ),
    ],
)
def test_what_is_wrong_is_named(text: str, field: str, message: str) -> None:
    found = complaints(envoy_filter(text))
    at = f"spec.configPatches[0].{field}"
    assert any(path == at and message in said for _, path, said in found), found


@pytest.mark.parametrize(
    ("target", "field", "message"),
    [
        ("{kind: Pod, name: a}", "kind", "'Pod' is none of Service, ServiceEntry"),
        ("{kind: Gateway, name: a}", "group", "Gateway is of 'gateway.networking.k8s.io'"),
        ("{kind: Service, name: a, namespace: b}", "namespace", "only what is in shop itself"),
        (
            "{group: gateway.networking.k8s.io, kind: GatewayClass, name: a}",
            "kind",
            "in istio-system only",
        ),
        ("{kind: Service, nam: a}", "nam", "unknown field: did you mean name?"),
    ],
)
def test_targets_that_can_not_be_meant(target: str, field: str, message: str) -> None:
    found = complaints(envoy_filter(on_filters("ADD", "a"), more=f"targetRefs: [{target}]"))
    at = f"spec.targetRefs[0].{field}"
    assert any(path == at and message in said for _, path, said in found), found


def test_one_for_workloads_is_not_for_waypoints() -> None:
    mesh = mesh_of(
        envoy_filter(on_filters("ADD", "a"), more="workloadSelector: {labels: {app: web}}"),
        envoy_filter(on_filters("ADD", "a"), more=WEB.replace("web", "gone"), name="g"),
    )
    assert filters(mesh) == []
    assert any("sidecars and gateways only" in message for message in mesh.messages())
    assert any("there is no Service shop/gone" in message for message in mesh.messages())
    assert complaints(documents(envoy_filter(on_filters("ADD", "a")))) == []
