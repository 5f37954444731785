from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from deploy.standalone.control.pods import PodStatus
from proto import workload_pb2 as pb
from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    SETTINGS,
    Mesh,
    deployment,
    service,
    workload_entry,
)
from ztunnel_compat.decode import decode_address
from ztunnel_compat.model import Workload

PLAIN = AMBIENT.replace(", istio.io/use-waypoint: waypoint", "")


def workload(mesh: Mesh) -> pb.Workload:
    (found,) = mesh.workloads().values()
    return found


def test_a_ready_pod_of_the_mesh() -> None:
    mesh = Mesh(PLAIN, service("web"), deployment("web"))
    mesh.report()
    found = workload(mesh)
    (name,) = mesh.names()
    assert found.uid == f"Kubernetes//Pod/shop/{name}"
    assert [len(address) for address in found.addresses] == [4, 16]
    assert found.tunnel_protocol == pb.HBONE
    assert (found.workload_name, found.workload_type) == ("web", pb.DEPLOYMENT)
    assert (found.canonical_name, found.canonical_revision) == ("web", "v1")
    assert found.node == "node1"
    assert found.status == pb.HEALTHY
    (port,) = found.services["shop/web.shop.svc.cluster.local"].ports
    assert (port.service_port, port.target_port, port.app_protocol) == (80, 8080, pb.HTTP11)


def test_its_trust_domain_is_told_where_it_is_not_the_usual() -> None:
    for domain, told in (("cluster.local", ""), ("td.example", "td.example")):
        vm = workload_entry("address: 10.9.0.1\nserviceAccount: vm")
        settings = replace(SETTINGS, trust_domain=domain)
        mesh = Mesh(PLAIN, deployment("web"), vm, settings=settings)
        mesh.report()
        assert workload(mesh).trust_domain == told
        (outside,) = mesh.view.outsides
        assert mesh.address(outside).workload.trust_domain == told


def test_the_engines_can_decode_it() -> None:
    mesh = Mesh(PLAIN, service("web"), deployment("web"))
    mesh.report()
    for name, resource in mesh.view.contents.waypoint.items():
        assert decode_address(name, resource.value)
    decoded = decode_address(
        *next((n, r.value) for n, r in mesh.view.contents.ztunnel.items() if "//Pod/" in n)
    )
    assert isinstance(decoded, Workload)
    assert decoded.service_account == "default"


def test_a_named_target_port_is_each_pods_own() -> None:
    web = service("web").replace("targetPort: 8080", "targetPort: web")
    mesh = Mesh(PLAIN, web, deployment("web"))
    mesh.report()
    assert mesh.service("web").ports[0].target_port == 0
    key = "shop/web.shop.svc.cluster.local"
    assert workload(mesh).services[key].ports[0].target_port == 8080
    missing = Mesh(
        PLAIN, web.replace("targetPort: web", "targetPort: admin"), deployment("web")
    )
    missing.report()
    assert len(workload(missing).services[key].ports) == 0


def test_who_is_sent_and_as_what() -> None:
    mesh = Mesh(PLAIN, deployment("web"))
    ((name, each),) = mesh.view.pods.items()
    address = (ip_address("10.244.1.9"),)
    for status, expected in (
        (PodStatus(each.pod.uid, (), "Pending", False), None),
        (PodStatus(each.pod.uid, address, "Running", False), pb.UNHEALTHY),
        (PodStatus(each.pod.uid, address, "Running", True), pb.HEALTHY),
        (PodStatus(each.pod.uid, address, "Succeeded", False), None),
        (PodStatus(each.pod.uid, address, "Failed", False), None),
    ):
        mesh.statuses[name] = status
        mesh.derive()
        found = [w.status for w in mesh.workloads().values()]
        assert found == ([] if expected is None else [expected])


def test_outside_the_mesh_and_with_an_account() -> None:
    text = deployment("web").replace(
        "    spec:\n", "    spec:\n      serviceAccountName: clerk\n"
    )
    mesh = Mesh(PLAIN.replace("ambient", "none"), text)
    mesh.report()
    assert workload(mesh).tunnel_protocol == pb.TunnelProtocol.NONE
    assert workload(mesh).service_account == "clerk"


def test_canonical_labels_go_first() -> None:
    text = deployment("web").replace(
        "version: v1}",
        "version: v1, app.kubernetes.io/name: shop, app.kubernetes.io/version: '7'}",
    )
    mesh = Mesh(PLAIN, text)
    mesh.report()
    assert (workload(mesh).canonical_name, workload(mesh).canonical_revision) == ("shop", "7")


def node(name: str) -> str:
    return (
        f"apiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n  labels:\n"
        "    topology.kubernetes.io/region: eu\n    topology.kubernetes.io/zone: eu-a\n"
        "    topology.istio.io/subzone: rack7\n"
    )


def test_a_pod_is_where_its_node_is() -> None:
    mesh = Mesh(PLAIN, node("node1"), deployment("web"))
    mesh.report()
    place = workload(mesh).locality
    assert (place.region, place.zone, place.subzone) == ("eu", "eu-a", "rack7")
    mesh.write(PLAIN, deployment("web"))
    mesh.report()
    assert not workload(mesh).HasField("locality")


def test_a_node_that_the_mesh_does_not_have_is_noticed() -> None:
    assert Mesh(node("node9")).messages() == [
        "metadata.name: without effect: the mesh's nodes are node1"
    ]
