"""PythonFilters as waypoints get them."""

from __future__ import annotations

import pytest
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)

from deploy.standalone.control.api.tables import table
from deploy.standalone.control.translate.sight import PODS
from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    GATEWAY,
    Mesh,
    plugin,
    service,
)
from waypoint.filters.decode import decode_chain
from waypoint.filters.kinds import KINDS
from waypoint.filters.plugin.filter import PluginFilter
from waypoint.filters.plugin.spec import PluginSpec

ENTRY = "entryPoint: x\n"


GATE = "targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: waypoint}]\n"
CLASS = (
    "targetRefs: [{kind: GatewayClass, group: gateway.networking.k8s.io, "
    "name: tandem-waypoint}]\n"
)


def plugins_of(mesh: Mesh, name: str = "web", port: int = 80) -> list[PluginSpec]:
    """What a waypoint makes of a service's filters, in order."""
    ports = mesh.view.filters.get(("shop", f"{name}.shop.svc.cluster.local"), {})
    manager = ports.get(port, HttpConnectionManager())
    chain = decode_chain(manager.SerializeToString(), KINDS)
    return [p.filter.spec for p in chain.filters if isinstance(p.filter, PluginFilter)]


def test_a_waypoint_reads_what_is_written() -> None:
    spec = (
        "targetRefs: [{kind: Service, name: web}]\ncode: 'class A: pass'\nclass: A\n"
        "failStrategy: FAIL_OPEN\ntimeout: 20ms\nmemory: 32Mi\nconfig: {a: [1, 2.5, {b: c}]}"
    )
    mesh = Mesh(AMBIENT, GATEWAY, service("web"), service("other"), plugin(spec))
    assert plugins_of(mesh) == [
        PluginSpec(
            "tandem.plugin.shop.tenants",
            code="class A: pass",
            class_name="A",
            config='{"a": [1, 2.5, {"b": "c"}]}',
            fail_open=True,
            timeout=0.02,
            memory=32 << 20,
        )
    ]
    assert plugins_of(mesh, "other") == []


def test_phases_and_priorities_are_the_order() -> None:
    specs = {
        "e": "",
        "d": "phase: STATS",
        "c": "phase: AUTHZ",
        "b": "phase: AUTHN",
        "a": "phase: AUTHN\npriority: -1",
        "z": "phase: AUTHN\npriority: 7",
    }
    parts = [plugin(f"{GATE}{ENTRY}{more}", name) for name, more in specs.items()]
    mesh = Mesh(AMBIENT, GATEWAY, service("web"), service("other"), *parts)
    for name, port in (("web", 80), ("other", 80), ("waypoint", PODS)):
        found = plugins_of(mesh, name, port)
        assert [p.name[-1] for p in found] == ["z", "b", "a", "c", "d", "e"]
    rows = table("plugins", mesh.view)["rows"]
    assert rows[0] == [
        "shop", "a", "x", "AUTHN", "-1", "FAIL_CLOSE", "Gateway waypoint", "2",
    ]  # fmt: skip


@pytest.mark.parametrize(("target", "namespace"), [(GATE, "shop"), (CLASS, "istio-system")])
def test_what_a_gateway_asks_is_asked_at_pods_own_addresses_too(
    target: str, namespace: str
) -> None:
    mesh = Mesh(AMBIENT, GATEWAY, service("web"), plugin(target + ENTRY, namespace=namespace))
    (carried,) = mesh.service("waypoint").extensions
    assert carried.name == "inbound-pod|filters"
    chain = decode_chain(carried.config.value, KINDS)
    assert [placed.filter.name for placed in chain.filters] == [
        f"tandem.plugin.{namespace}.tenants"
    ]
    assert plugins_of(mesh, "waypoint", PODS) == plugins_of(mesh)
    of_web = plugin("targetRefs: [{kind: Service, name: web}]\n" + ENTRY)
    assert not Mesh(AMBIENT, GATEWAY, service("web"), of_web).service("waypoint").extensions


def test_what_is_meant_and_is_not_there_is_told() -> None:
    gone = plugin("targetRefs: [{kind: Service, name: gone}]\nentryPoint: x")
    mesh = Mesh(AMBIENT, GATEWAY, service("web"), gone)
    assert any("there is no Service shop/gone" in message for message in mesh.messages())
