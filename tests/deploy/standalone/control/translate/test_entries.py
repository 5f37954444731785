from __future__ import annotations

from ipaddress import ip_address

import pytest

from proto import workload_pb2 as pb
from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    GATEWAY,
    Mesh,
    deployment,
    entry,
    policy,
    service,
    workload_entry,
)
from ztunnel_compat.decode import decode_address

LB = pb.LoadBalancing
PLAIN = AMBIENT.replace(", istio.io/use-waypoint: waypoint", "")
PORTS = "\nports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]\n"
STATIC = "hosts: [a.example]" + PORTS + "resolution: STATIC\n"
DNS = "hosts: [a.example]" + PORTS + "resolution: DNS\n"
ENTRY = "Kubernetes/networking.istio.io/ServiceEntry/shop/out/"
VM = "Kubernetes/networking.istio.io/WorkloadEntry/shop/vm"
ONE = "endpoints: [{address: 10.9.0.1}]\n"


def host(mesh: Mesh, name: str = "a.example", namespace: str = "shop") -> pb.Service:
    return mesh.address(f"{namespace}/{name}").service


def workload(mesh: Mesh, uid: str) -> pb.Workload:
    return mesh.address(uid).workload


def ports(found: pb.Workload, key: str = "shop/a.example") -> list[tuple[int, int]]:
    return [(p.service_port, p.target_port) for p in found.services[key].ports]


def test_a_host_and_its_endpoint() -> None:
    mesh = Mesh(PLAIN, entry(STATIC + ONE + "subjectAltNames: [spiffe://x]"))
    found = host(mesh)
    assert (found.name, found.namespace, found.hostname) == ("out", "shop", "a.example")
    assert [(p.service_port, p.target_port, p.app_protocol) for p in found.ports] == [
        (80, 8080, pb.HTTP11)
    ]
    assert [len(a.address) for a in found.addresses] == [4, 16]
    assert list(found.subject_alt_names) == ["spiffe://x"]
    assert found.canonical
    assert not found.HasField("load_balancing")
    endpoint = workload(mesh, ENTRY + "10.9.0.1")
    assert (endpoint.name, endpoint.workload_name, endpoint.canonical_name) == ("out",) * 3
    assert list(endpoint.addresses) == [ip_address("10.9.0.1").packed]
    assert endpoint.tunnel_protocol == pb.TunnelProtocol.NONE
    assert endpoint.status == pb.HEALTHY
    assert ports(endpoint) == [(80, 8080)]
    assert not endpoint.HasField("capacity")
    assert not endpoint.HasField("locality")
    assert not mesh.messages()


def test_everything_decodes() -> None:
    mesh = Mesh(
        PLAIN,
        entry(STATIC + ONE),
        entry(DNS.replace("a.example", "b.example"), name="dns"),
        workload_entry("{address: 'fd00::9', labels: {app: vm}}"),
    )
    for name, resource in mesh.view.contents.ztunnel.items():
        assert decode_address(name, resource.value)
    assert len(mesh.view.contents.ztunnel) == 5


def test_addresses_of_its_own() -> None:
    found = host(Mesh(entry(STATIC + ONE + "addresses: [10.7.0.1, 10.8.0.0/16, 'fd00::/64']")))
    shown = [
        (str(ip_address(a.address)), a.length if a.HasField("length") else None)
        for a in found.addresses
    ]
    assert shown == [("10.7.0.1", None), ("10.8.0.0", 16), ("fd00::", 64)]


@pytest.mark.parametrize(
    ("spec", "annotation", "mode", "scopes", "health"),
    [
        (
            "hosts: [a.example]" + PORTS + "addresses: [10.0.0.0/8]",
            "networking.istio.io/traffic-distribution: PreferClose",
            LB.PASSTHROUGH,
            [],
            LB.ALLOW_ALL,
        ),
        (
            STATIC + ONE,
            "networking.istio.io/traffic-distribution: PreferClose",
            LB.FAILOVER,
            [LB.NETWORK, LB.REGION, LB.ZONE],
            LB.ONLY_HEALTHY,
        ),
    ],
)
def test_load_balancing(
    spec: str, annotation: str, mode: int, scopes: list[int], health: int
) -> None:
    found = host(Mesh(entry(spec, annotations=annotation))).load_balancing
    assert (found.mode, list(found.routing_preference), found.health_policy) == (
        mode,
        scopes,
        health,
    )


@pytest.mark.parametrize(
    ("exported", "visibility"), [(".", pb.NAMESPACE), ("'*'", pb.PUBLIC), ("'~'", None)]
)
def test_who_sees_a_host(exported: str, visibility: int | None) -> None:
    mesh = Mesh(entry(STATIC + ONE + f"exportTo: [{exported}]"))
    if visibility is None:
        assert not mesh.view.contents.ztunnel
    else:
        assert host(mesh).visibility == visibility


def test_an_endpoints_own_words() -> None:
    mesh = Mesh(
        PLAIN,
        entry(
            STATIC + "endpoints: [{address: '::9', ports: {http: 9090}, weight: 7, "
            "locality: eu/a, serviceAccount: clerk}]",
            annotations="ambient.istio.io/redirection: enabled",
        ),
    )
    found = workload(mesh, ENTRY + "::9")
    assert ports(found) == [(80, 9090)]
    assert found.capacity.value == 7
    assert (found.locality.region, found.locality.zone) == ("eu", "a")
    assert found.service_account == "clerk"
    assert found.tunnel_protocol == pb.HBONE


def test_a_name_is_the_endpoint_until_it_is_resolved_and_after() -> None:
    mesh = Mesh(PLAIN, entry(DNS))
    found = workload(mesh, ENTRY + "a.example")
    assert (found.hostname, list(found.addresses)) == ("a.example", [])
    assert mesh.messages() == ["spec.endpoints: a.example has no address so far"]
    mesh.resolved["a.example"] = (ip_address("192.0.2.1"), ip_address("192.0.2.2"))
    mesh.derive()
    found = workload(mesh, ENTRY + "a.example")
    assert [str(ip_address(a)) for a in found.addresses] == ["192.0.2.1", "192.0.2.2"]
    assert not mesh.messages()


def test_round_robin_takes_the_first_address() -> None:
    mesh = Mesh(PLAIN, entry(DNS.replace("resolution: DNS", "resolution: DNS_ROUND_ROBIN")))
    mesh.resolved["a.example"] = (ip_address("192.0.2.1"), ip_address("192.0.2.2"))
    mesh.derive()
    assert len(workload(mesh, ENTRY + "a.example").addresses) == 1


def test_hosts_that_stand_for_themselves_serve_only_themselves() -> None:
    mesh = Mesh(PLAIN, entry(DNS.replace("[a.example]", "[a.example, b.example]")))
    for name in ("a.example", "b.example"):
        assert list(workload(mesh, ENTRY + name).services) == [f"shop/{name}"]
    shared = Mesh(PLAIN, entry(STATIC.replace("[a.example]", "[a.example, b.example]") + ONE))
    assert len(workload(shared, ENTRY + "10.9.0.1").services) == 2


def test_a_workload_entry_is_selected_as_pods_are() -> None:
    selecting = "hosts: [a.example]" + PORTS + "resolution: STATIC\n"
    mesh = Mesh(
        PLAIN,
        service("vm"),
        service("named").replace("{app: named}", "{app: vm}").replace("8080", "web"),
        service("other"),
        entry(selecting + "workloadSelector: {labels: {app: vm}}"),
        policy("selector: {matchLabels: {app: vm}}"),
        workload_entry(
            "{address: 10.9.0.1, weight: 2, labels: {app: vm, version: v2}, "
            "serviceAccount: clerk, ports: {web: 9000, http: 9001}}"
        ),
        deployment("vm"),
    )
    mesh.report()
    found = workload(mesh, VM)
    assert (found.name, found.namespace, found.service_account) == ("vm", "shop", "clerk")
    assert (found.canonical_name, found.canonical_revision) == ("vm", "v2")
    assert found.capacity.value == 2
    assert list(found.authorization_policies) == ["shop/rules"]
    assert ports(found, "shop/vm.shop.svc.cluster.local") == [(80, 9001)]
    assert ports(found, "shop/named.shop.svc.cluster.local") == [(80, 9000)]
    assert ports(found) == [(80, 9001)]
    assert len(found.services) == 3
    (pod,) = mesh.workloads().values()
    assert ports(pod) == [(80, 8080)], "a ServiceEntry selects pods too"
    assert not pod.HasField("capacity")


def test_waypoints_of_hosts_and_of_workloads() -> None:
    both = GATEWAY.replace(
        "{name: waypoint, namespace: shop}",
        "{name: waypoint, namespace: shop, labels: {istio.io/waypoint-for: all}}",
    )
    mesh = Mesh(
        AMBIENT,
        both,
        entry(STATIC + ONE),
        entry(DNS.replace("a.example", "b.example"), name="dns"),
        workload_entry("{address: 10.9.0.2}"),
    )
    mesh.report()
    assert host(mesh).waypoint.hostname.hostname == "waypoint.shop.svc.cluster.local"
    assert workload(mesh, ENTRY + "10.9.0.1").HasField("waypoint")
    assert workload(mesh, VM).HasField("waypoint")
    implicit = "Kubernetes/networking.istio.io/ServiceEntry/shop/dns/b.example"
    assert not workload(mesh, implicit).HasField("waypoint")


def test_an_entry_that_selects_nobody_is_noticed() -> None:
    mesh = Mesh(PLAIN, entry(STATIC + "workloadSelector: {labels: {app: vm}}"))
    assert mesh.messages() == [
        "spec.workloadSelector: no pod is selected: connections are refused"
    ]
