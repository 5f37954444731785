from __future__ import annotations

import pytest

from deploy.standalone.control.objects import Key
from proto import workload_pb2 as pb
from tests.deploy.standalone.control.helpers import AMBIENT, GATEWAY, Mesh, route, service

WEB = "- backendRefs: [{name: web, port: 80}]"
TWO = service("web").replace(
    "ports: [", "ports: [{name: http-admin, port: 81}, {name: tcp-db, port: 82}, "
)
GRANT = """
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: a, namespace: store}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]
  to: [{group: "", kind: Service}]
"""


def ports(mesh: Mesh) -> list[str]:
    return sorted(e.name.split("|")[1] for e in mesh.service("web").extensions)


def told(mesh: Mesh, text: str) -> bool:
    return any(text in message for message in mesh.messages())


@pytest.mark.parametrize(
    ("parent", "expected"),
    [
        ("name: web", ["80", "81"]),
        ("name: web, port: 81", ["81"]),
        ("name: web, sectionName: http", ["80"]),
    ],
)
def test_a_parent_may_be_narrowed_to_a_port(parent: str, expected: list[str]) -> None:
    mesh = Mesh(AMBIENT, GATEWAY, TWO, route(WEB).replace("name: web}]", f"{parent}}}]", 1))
    assert ports(mesh) == expected


def test_a_port_that_does_not_say_its_protocol_may_have_routes() -> None:
    text = service("web").replace("name: http", "name: web")
    mesh = Mesh(AMBIENT, GATEWAY, text, route(WEB))
    assert ports(mesh) == ["80"]
    (port,) = mesh.service("web").ports
    assert port.app_protocol == pb.UNKNOWN


@pytest.mark.parametrize(
    ("parent", "complaint"),
    [
        ("name: gone", "spec.parentRefs[0].name: there is no Service shop/gone"),
        ("name: waypoint", "spec.parentRefs[0].name: there is no Service shop/waypoint"),
        ("name: web, port: 99", "spec.parentRefs[0]: Service shop/web has no port 99"),
        ("name: web, sectionName: x", "spec.parentRefs[0]: Service shop/web has no port x"),
        ("name: web, port: 82", "port 82 of Service shop/web speaks TCP, and only HTTP is"),
    ],
)
def test_a_parent_that_leads_nowhere(parent: str, complaint: str) -> None:
    mesh = Mesh(AMBIENT, GATEWAY, TWO, route(WEB).replace("name: web}]", f"{parent}}}]", 1))
    assert told(mesh, complaint)
    assert ports(mesh) == []
    assert mesh.view.attachments.accepted == {Key("HTTPRoute", "shop", "web"): False}


def test_problems_of_references_name_their_own_line() -> None:
    text = route("- backendRefs:\n  - name: web\n    port: 80\n  - name: gone\n    port: 80")
    mesh = Mesh(AMBIENT, GATEWAY, service("web"), text)
    (found,) = (p for p in mesh.view.problems if "gone" in p.message)
    lines = "\n".join(part.strip("\n") for part in (AMBIENT, GATEWAY, service("web"), text))
    expected = lines.splitlines().index("    - name: gone") + 1 + 3  # three separators
    assert (found.line, found.field) == (expected, "spec.rules[0].backendRefs[1]")


def test_another_namespaces_backend_needs_a_grant() -> None:
    rule = "- backendRefs: [{name: web, namespace: store, port: 80}]"
    parts = (AMBIENT, GATEWAY, service("web"), service("web", namespace="store"), route(rule))
    mesh = Mesh(*parts)
    assert told(mesh, "no ReferenceGrant in store lets HTTPRoutes of shop name Service web")
    assert told(
        Mesh(*parts, GRANT.replace("namespace: shop}", "namespace: x}")), "no ReferenceGrant"
    )
    assert not told(Mesh(*parts, GRANT), "no ReferenceGrant")


def stream(name: str, namespace: str, kind: str = "TCPRoute", backend: str = "web") -> str:
    """A route for connections to port 82 of shop's web; its only backend is shop's too."""
    reference = "{group: '', kind: Service, name: web, namespace: shop, port: 82}"
    return (
        f"apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: {kind}\nmetadata:\n"
        f"  name: {name}\n  namespace: {namespace}\nspec:\n  parentRefs: [{reference}]\n"
        f"  rules: [{{backendRefs: [{{name: {backend}, namespace: shop, port: 82}}]}}]\n"
    )


def test_a_consumer_s_route_for_bytes_shares_its_port_with_the_producer_s() -> None:
    parts = (AMBIENT, GATEWAY, TWO, stream("a", "shop"), stream("a", "store"))
    mesh = Mesh(*parts)
    assert told(mesh, "no ReferenceGrant in shop lets TCPRoutes of store name Service web")
    key = ("shop", "web.shop.svc.cluster.local")
    chains = mesh.view.attachments.streams[key][82]
    assert [(chain.name, chain.namespaces) for chain in chains] == [
        ("store.a.0", ("store",)), ("shop.a.0", ()),
    ]  # fmt: skip
    assert set(mesh.view.attachments.accepted.values()) == {True}
    # Of two of one namespace the first counts.
    mesh = Mesh(*parts, stream("b", "store"))
    assert told(mesh, "port 82 of Service shop/web has TCPRoute store/a, which counts")
    assert mesh.view.attachments.accepted[Key("TCPRoute", "store", "b")] is False


def test_a_route_without_a_waypoint_is_noticed() -> None:
    plain = AMBIENT.replace(", istio.io/use-waypoint: waypoint", "")
    mesh = Mesh(plain, GATEWAY, service("web"), route(WEB))
    assert told(mesh, "no waypoint serves Service shop/web")
    assert ports(mesh) == ["80"]
