from __future__ import annotations

import pytest

from proto import workload_pb2 as pb
from tests.deploy.standalone.control.helpers import Mesh, service

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
        (80, 8080, pb.HTTP11)
    ]
    assert [len(address.address) for address in found.addresses] == [4, 16]
    assert found.ip_families == pb.DUAL


def test_headless() -> None:
    found = Mesh(service("web", spec="clusterIP: None")).service("web")
    assert not found.addresses
    assert found.ip_families == pb.IPV4_ONLY
