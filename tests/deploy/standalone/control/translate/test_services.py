from __future__ import annotations

import pytest

from proto import workload_pb2 as pb
from tests.deploy.standalone.control.helpers import AMBIENT, Mesh, deployment, service

LB = pb.LoadBalancing
SAME_ZONE = [LB.NETWORK, LB.REGION, LB.ZONE]


@pytest.mark.parametrize(
    ("spec", "mode", "scopes", "health"),
    [
        ("", LB.UNSPECIFIED_MODE, [], LB.ONLY_HEALTHY),
        ("internalTrafficPolicy: Local", LB.STRICT, [LB.NODE], LB.ONLY_HEALTHY),
        ("trafficDistribution: PreferClose", LB.FAILOVER, SAME_ZONE, LB.ONLY_HEALTHY),
        ("trafficDistribution: PreferSameZone", LB.FAILOVER, SAME_ZONE, LB.ONLY_HEALTHY),
        (
            "trafficDistribution: PreferSameNode",
            LB.FAILOVER,
            [*SAME_ZONE, LB.SUBZONE, LB.NODE],
            LB.ONLY_HEALTHY,
        ),
        ("publishNotReadyAddresses: true", LB.UNSPECIFIED_MODE, [], LB.ALLOW_ALL),
    ],
)
def test_load_balancing(spec: str, mode: int, scopes: list[int], health: int) -> None:
    found = Mesh(service("web", spec=spec)).service("web").load_balancing
    assert found.mode == mode
    assert list(found.routing_preference) == scopes
    assert found.health_policy == health


def test_ports_addresses_and_families() -> None:
    text = service("web", spec="ipFamilyPolicy: PreferDualStack").replace(
        "ports: [", "ports: [{name: dns, port: 53, protocol: UDP}, "
    )
    found = Mesh(text).service("web")
    assert (found.name, found.namespace, found.hostname) == (
        "web",
        "shop",
        "web.shop.svc.cluster.local",
    )
    assert [(p.service_port, p.target_port, p.app_protocol) for p in found.ports] == [
        (53, 53, pb.UNKNOWN),
        (80, 8080, pb.HTTP11),
    ]
    assert [len(address.address) for address in found.addresses] == [4, 16]
    assert found.ip_families == pb.DUAL


@pytest.mark.parametrize(
    ("value", "visibility"), [("'*'", pb.PUBLIC), (".", pb.NAMESPACE), ("'~'", None)]
)
def test_who_sees_it(value: str, visibility: int | None) -> None:
    text = service("web").replace(
        "metadata: {", f"metadata: {{annotations: {{networking.istio.io/exportTo: {value}}}, "
    )
    mesh = Mesh(AMBIENT, text, deployment("web"))
    mesh.report()
    (workload,) = mesh.workloads().values()
    assert bool(workload.services) == (visibility is not None)
    if visibility is None:
        assert "shop/web.shop.svc.cluster.local" not in mesh.view.contents.waypoint
    else:
        assert mesh.service("web").visibility == visibility


def test_a_namespaces_distribution_holds_for_its_services() -> None:
    namespace = AMBIENT.replace(
        "  labels:",
        "  annotations: {networking.istio.io/traffic-distribution: PreferSameNode}\n  labels:",
    )
    near = service("near", spec="trafficDistribution: PreferClose")
    mesh = Mesh(namespace, service("web"), near, service("far", namespace="other"))
    assert mesh.service("web").load_balancing.routing_preference[-1] == LB.NODE
    assert mesh.service("near").load_balancing.routing_preference[-1] == LB.ZONE
    assert not mesh.service("far", "other").HasField("load_balancing")


@pytest.mark.parametrize(
    ("target", "messages"),
    [
        ("8053", []),
        (
            "9053",
            [
                (
                    "spec.ports: UDP port 53 leads to 8053 too, as the TCP port does, "
                    "not to 9053: give them one targetPort, or two numbers"
                )
            ],
        ),
    ],
)
def test_a_number_of_both_transports_goes_once(target: str, messages: list[str]) -> None:
    ports = (
        f"ports: [{{name: u, port: 53, protocol: UDP, targetPort: {target}}}, "
        "{name: t, port: 53, targetPort: 8053}, "
    )
    mesh = Mesh(AMBIENT, service("web").replace("ports: [", ports), deployment("web"))
    assert [(p.service_port, p.target_port) for p in mesh.service("web").ports] == [
        (53, 8053),
        (80, 8080),
    ]
    assert [m for m in mesh.messages() if m.startswith("spec.ports")] == messages


def test_headless() -> None:
    found = Mesh(service("web", spec="clusterIP: None")).service("web")
    assert not found.addresses
    assert found.ip_families == pb.IPV4_ONLY
