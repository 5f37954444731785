from __future__ import annotations

from proto import workload_pb2
from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    GATEWAY,
    Mesh,
    deployment,
    service,
)
from tests.deploy.standalone.control.test_membership import labelled


def test_a_gateway_makes_a_service_and_pods_in_the_mesh() -> None:
    mesh = Mesh(AMBIENT.replace("ambient", "none"), GATEWAY)
    mesh.report()
    (view,) = mesh.view.pods.values()
    assert view.enrolled, "whatever the namespace says"
    container = view.pod.template.containers[0]
    assert container.command[1:] == ("-m", "waypoint")
    env = {each.name: each.value or each.field_path for each in container.env}
    assert env["XDS_ADDRESS"] == "10.244.255.253:15012"
    assert env["XDS_ROOT_CA"] == "/run/tandem/t/roots.pem"
    assert env["TOKEN_PATH"] == "tandem.io/token-path"
    assert env["GATEWAY_NAME"] == "waypoint"
    assert env["INSTANCE_IP"] == "status.podIP"
    assert container.readiness is not None
    assert (container.readiness.port, container.readiness.path) == (15021, "/healthz/ready")
    own = mesh.service("waypoint")
    assert [(port.service_port, port.target_port) for port in own.ports] == [(15008, 15008)]
    assert len(own.addresses) == 2
    assert not own.HasField("waypoint")
    (workload,) = mesh.workloads().values()
    assert workload.application_tunnel.port == 15088
    assert list(workload.services) == ["shop/waypoint.shop.svc.cluster.local"]
    assert not workload.HasField("waypoint")


def test_a_gateway_may_ask_for_pods_that_are_not_enrolled() -> None:
    mesh = Mesh(AMBIENT, labelled(GATEWAY, "istio.io/dataplane-mode: none"))
    mesh.report()
    (view,) = mesh.view.pods.values()
    assert not view.enrolled
    env = {each.name: each.value for each in view.pod.template.containers[0].env}
    assert env["L4_MODE"] == "none"
    (workload,) = mesh.workloads().values()
    assert workload.tunnel_protocol == workload_pb2.HBONE
    assert not workload.HasField("application_tunnel")


def test_a_service_in_the_way_of_a_waypoints() -> None:
    mesh = Mesh(AMBIENT, GATEWAY, service("waypoint"))
    assert any("is in the way of the waypoint's" in m for m in mesh.messages())
    assert mesh.names() == []
    assert [port.service_port for port in mesh.service("waypoint").ports] == [80]


def test_a_deployment_with_a_waypoints_name_is_another() -> None:
    mesh = Mesh(AMBIENT, GATEWAY, deployment("waypoint"))
    assert len(mesh.names()) == 2


def test_undeclared_namespaces_and_accounts_are_noticed() -> None:
    text = deployment("web", namespace="new").replace(
        "    spec:\n", "    spec:\n      serviceAccountName: clerk\n"
    )
    assert Mesh(text).messages() == [
        "metadata.namespace: no Namespace new is declared: it counts as one without labels",
        "spec.template.spec.serviceAccountName: no ServiceAccount new/clerk is declared",
    ]


def test_a_service_that_selects_nothing_is_noticed() -> None:
    mesh = Mesh(AMBIENT.replace(", istio.io/use-waypoint: waypoint", ""), service("web"))
    assert mesh.messages() == ["spec.selector: no pod is selected: connections are refused"]
