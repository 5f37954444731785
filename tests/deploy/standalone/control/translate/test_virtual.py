"""Which VirtualServices and DestinationRules count, and for whom."""

from __future__ import annotations

import re

import pytest

from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    GATEWAY,
    Mesh,
    complaints,
    deployment,
    istio,
    route,
    service,
)
from tests.deploy.standalone.control.translate.test_resources import rides

ROUTE = "http:\n- route: [{destination: {host: web}}]"
TCP = "tcp:\n- route: [{destination: {host: web}}]"


def virtual(spec: str, name: str = "web", namespace: str = "shop") -> str:
    return istio("networking", "VirtualService", name, spec, namespace, "")


def destination(spec: str, name: str = "web", namespace: str = "shop") -> str:
    return istio("networking", "DestinationRule", name, spec, namespace, "")


def more(line: str) -> str:
    """A VirtualService whose only rule says this too."""
    return virtual(f"hosts: [web]\n{ROUTE}\n  {line}")


def only(rule: str) -> str:
    """A VirtualService with this rule."""
    return virtual(f"hosts: [web]\nhttp: [{rule}]")


def policy(text: str) -> str:
    """A DestinationRule with this traffic policy."""
    return destination(f"host: web\ntrafficPolicy: {{{text}}}")


def mesh_of(*parts: str) -> Mesh:
    return Mesh(AMBIENT, GATEWAY, service("web"), deployment("web"), *parts)


def told(mesh: Mesh, text: str) -> bool:
    return any(text in message for message in mesh.messages())


def test_a_gateway_api_route_goes_before_a_virtual_service() -> None:
    mesh = mesh_of(
        route("- backendRefs: [{name: web, port: 80}]"), virtual(f"hosts: [web]\n{ROUTE}")
    )
    assert told(mesh, "port 80 of Service shop/web has HTTPRoute shop/web, which counts")


def test_of_two_for_one_host_the_first_by_name_counts() -> None:
    mesh = mesh_of(*(virtual(f"hosts: [web]\n{ROUTE}", name) for name in ("b", "a")))
    assert told(mesh, "web.shop.svc.cluster.local is VirtualService shop/a's already")
    assert "shop.a.0" in rides(mesh)
    assert "shop.b.0" not in rides(mesh)


def test_the_most_specific_host_counts() -> None:
    mesh = mesh_of(
        virtual(f'hosts: ["*.shop.svc.cluster.local"]\n{ROUTE}', "a"),
        virtual(f"hosts: [web]\n{ROUTE}", "b"),
    )
    assert "shop.b.0" in rides(mesh)
    assert "shop.a.0" not in rides(mesh)


def test_another_namespaces_is_for_its_own_requests_only() -> None:
    full = "web.shop.svc.cluster.local"
    spec = f"hosts: [{full}]\n" + ROUTE.replace("host: web", f"host: {full}")
    text = rides(mesh_of(virtual(spec, "x", "store")))
    assert 'name: "store.x.0"' in text
    assert 'exact: "store"' in text
    assert text.index('name: "unmatched"') < text.index('name: "default"')


@pytest.mark.parametrize(
    ("exported", "owners"),
    [
        ("other", {"store": "store.x.0", "other": "shop.y.0"}),
        # Of two for one namespace the first counts.
        ("store, other", {"store": "shop.y.0", "other": "shop.y.0"}),
    ],
)
def test_tcp_routes_of_some_namespaces_are_for_their_connections_only(
    exported: str, owners: dict[str, str]
) -> None:
    full = "web.shop.svc.cluster.local"
    tcp = f"hosts: [{full}]\n" + TCP.replace("host: web", f"host: {full}")
    text = rides(
        Mesh(
            AMBIENT,
            GATEWAY,
            service("web").replace("name: http", "name: tcp"),
            virtual(tcp, "x", "store"),
            virtual(f"hosts: [web]\nexportTo: [{exported}]\n{TCP}", "y"),
        )
    )
    *narrow, rest = text.split("filter_chains {")[1:]
    found = {
        namespace: chain
        for chain in narrow
        for namespace in re.findall('string_value: "(.*)"', chain)
    }
    assert found.keys() == owners.keys()
    assert all(f'name: "{owner}"' in found[namespace] for namespace, owner in owners.items())
    # Who has none goes to the service.
    assert "string_value" not in rest
    assert f'cluster: "outbound|80||{full}"' in rest


@pytest.mark.parametrize(
    ("rules", "counts"),
    [
        ([("web", "a", "shop"), ("web", "b", "shop")], "has one for"),
        ([("gone", "a", "shop")], "there is no service gone.shop.svc.cluster.local"),
        ([("web.shop.svc.cluster.local", "a", "store")], "without effect: another rule"),
    ],
)
def test_destination_rules_that_do_not_count(
    rules: list[tuple[str, str, str]], counts: str
) -> None:
    policy = "trafficPolicy: {loadBalancer: {simple: RANDOM}}"
    parts = (destination(f"host: {host}\n{policy}", name, ns) for host, name, ns in rules)
    assert told(mesh_of(*parts), counts)


def test_a_subset_that_nobody_declares_gets_no_request() -> None:
    mesh = mesh_of(
        virtual("hosts: [web]\n" + ROUTE.replace("host: web", "host: web, subset: v9"))
    )
    assert told(mesh, "has a subset v9: its share of the requests fails")
    assert "outbound|80|v9|web.shop.svc.cluster.local.invalid" in rides(mesh)


def test_a_port_that_does_not_say_its_protocol_is_spoken_to_as_the_client_speaks() -> None:
    pool = policy("connectionPool: {http: {maxConcurrentStreams: 7}}")
    text = rides(
        Mesh(AMBIENT, GATEWAY, service("web").replace("name: http", "name: web"), pool)
    )
    assert "use_downstream_protocol_config" in text
    assert "max_concurrent_streams {\n            value: 7" in text
    assert "max_concurrent_streams" not in rides(mesh_of(pool))


def test_labels_reach_waypoints_only() -> None:
    mesh = mesh_of()
    mesh.report()
    (name,) = (n for n in mesh.view.contents.ztunnel if "//Pod/shop/web" in n)
    plain, full = mesh.view.contents.ztunnel[name], mesh.view.contents.waypoint[name]
    assert b"tandem.io/labels" in full.value
    assert b"tandem.io/labels" not in plain.value


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        (more("delegate: {name: other}"), "http[0].route", "can't stand beside delegate"),
        (only("{delegate: {namespace: x}}"), "http[0].delegate.name", "missing"),
        (
            virtual("http: [{delegate: {name: x}}]"),
            "http[0].delegate",
            "a VirtualService without hosts can't delegate",
        ),
        (virtual(TCP), "hosts", "missing: name the hosts whose tcp"),
        (
            more("retries: {retryOn: sometimes}"),
            "http[0].retries.retryOn",
            "'sometimes' is no status, nor one of 5xx",
        ),
        (only("{redirect: {redirectCode: 300}}"), "http[0].redirect.redirectCode", "300 is no"),
        (only("{}"), "http[0].route", "missing: give one of route, redirect"),
        (more("timeout: 5"), "http[0].timeout", "expected a text"),
        (policy("tls: {mode: SIMPLE}"), "trafficPolicy.tls.mode", "not supported: SIMPLE"),
        (policy("tunnel: {targetHost: a}"), "trafficPolicy.tunnel", "not supported"),
        (
            policy("loadBalancer: {simple: PASSTHROUGH}"),
            "trafficPolicy.loadBalancer.simple",
            "not supported: PASSTHROUGH",
        ),
    ],
)
def test_what_is_wrong_is_named(text: str, field: str, message: str) -> None:
    found = complaints(text)
    assert [where for _, where, _ in found] == [f"spec.{field}"]
    assert found[0][2].startswith(message)
