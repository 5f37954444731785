from __future__ import annotations

from dataclasses import replace

import pytest

from tests.waypoint.mesh import HTTP_PORT, NAMESPACE, hostname, service
from waypoint.clusters import Cluster, Clusters, cluster_name, parse_cluster
from ztunnel_compat.model import (
    AppProtocol,
    HealthPolicy,
    LoadBalancing,
    Service,
    ServicePort,
    Workload,
    WorkloadStatus,
)
from ztunnel_compat.state import WorkloadState

WEB = cluster_name(hostname("web"), HTTP_PORT)


class Rig:
    def __init__(self) -> None:
        self.state = WorkloadState()
        self.clusters = Clusters(self.state)

    def push(self, *resources: Service | Workload, removed: tuple[str, ...] = ()) -> None:
        changes = self.state.apply(resources, removed)
        self.clusters.refresh(changes.services, changes.workloads)


def pod(
    number: int, of: Service, *, status: int = 0, target: int = 8080, capacity: int = 1
) -> Workload:
    return Workload(
        uid=f"w{number}",
        addresses=(bytes([10, 0, 0, number]),),
        services={of.key: (ServicePort(HTTP_PORT, target),)},
        status=WorkloadStatus(status),
        capacity=capacity,
    )


def labels(cluster: Cluster) -> list[str]:
    return sorted(endpoint.label for endpoint in cluster.balance.endpoints)


@pytest.mark.parametrize(
    "name",
    ["", "a", "outbound|80|v1|h", "inbound|80||h", "outbound|x||h", "outbound|0||h",
     "outbound|65536||h", "outbound|80||", "outbound|\u0661||h"],
)  # fmt: skip
def test_names_of_another_form(name: str) -> None:
    assert parse_cluster(name) is None
    rig = Rig()
    assert not rig.clusters.use(NAMESPACE, name).known


def test_names() -> None:
    assert parse_cluster("outbound|80||a.b") == (80, "a.b")


def test_endpoints_follow_the_state() -> None:
    rig = Rig()
    web = service("web")
    cluster = rig.clusters.use(NAMESPACE, WEB)
    assert not cluster.known
    rig.push(pod(1, web))
    assert labels(cluster) == []
    rig.push(web)
    assert cluster.known
    assert labels(cluster) == ["10.0.0.1:8080"]
    kept = cluster.balance.endpoints[0]
    rig.push(pod(2, web, target=9090))
    assert labels(cluster) == ["10.0.0.1:8080", "10.0.0.2:9090"]
    assert kept in cluster.balance.endpoints
    rig.push(pod(1, web, status=1))
    assert labels(cluster) == ["10.0.0.2:9090"]
    assert kept.users == 0
    rig.push(removed=("w2",))
    assert labels(cluster) == []
    assert rig.clusters.endpoints == {}
    rig.push(removed=(web.key,))
    assert not cluster.known


def test_unhealthy_endpoints_count_where_the_service_says_so() -> None:
    rig = Rig()
    web = replace(
        service("web"), load_balancing=LoadBalancing(health_policy=HealthPolicy.ALLOW_ALL)
    )
    rig.push(web, pod(1, web, status=1))
    assert labels(rig.clusters.use(NAMESPACE, WEB)) == ["10.0.0.1:8080"]


def test_capacity_is_weight() -> None:
    rig = Rig()
    web = service("web")
    rig.push(web, pod(1, web, capacity=3), pod(2, web), pod(3, web, capacity=0))
    cluster = rig.clusters.use(NAMESPACE, WEB)
    assert labels(cluster) == ["10.0.0.1:8080", "10.0.0.2:8080"]
    assert cluster.balance.bounds is not None
    assert cluster.balance.bounds[-1] == 4
    assert len(rig.clusters.endpoints) == 2


def test_a_port_that_the_service_lacks_is_unknown() -> None:
    rig = Rig()
    rig.push(service("web"))
    assert not rig.clusters.use(NAMESPACE, cluster_name(hostname("web"), 81)).known


def test_the_own_namespace_comes_first() -> None:
    rig = Rig()
    ports = (ServicePort(80, 80, AppProtocol.HTTP11),)
    for namespace in ("far", "near"):
        other = Service("s", namespace, "s.example", ports=ports)
        rig.push(other, replace(pod(len(namespace), other), uid=namespace))
    name = cluster_name("s.example", 80)
    assert labels(rig.clusters.use("near", name)) == ["10.0.0.4:8080"]
    assert labels(rig.clusters.use("far", name)) == ["10.0.0.3:8080"]
    assert rig.clusters.use("else", name).known


def test_shared_endpoints_stay_until_the_last_cluster_goes() -> None:
    rig = Rig()
    web = service("web")
    other = service("other")
    both = replace(
        pod(1, web), services={s.key: (ServicePort(80, 8080),) for s in (web, other)}
    )
    rig.push(web, other, both)
    first = rig.clusters.use(NAMESPACE, WEB)
    second = rig.clusters.use(NAMESPACE, cluster_name(hostname("other"), 80))
    assert rig.clusters.use(NAMESPACE, WEB) is first
    (endpoint,) = first.balance.endpoints
    assert second.balance.endpoints == (endpoint,)
    rig.clusters.drop(first)
    assert endpoint.users == 2
    rig.clusters.drop(first)
    assert endpoint.users == 1
    rig.clusters.drop(second)
    assert (endpoint.users, rig.clusters.endpoints, rig.clusters.followers) == (0, {}, {})


def test_workloads_can_be_asked_themselves() -> None:
    rig = Rig()
    workload = Workload(uid="w", addresses=(bytes(15) + b"\1",))
    rig.push(workload)
    cluster = rig.clusters.use_workload(workload, 7)
    assert labels(cluster) == ["[::1]:7"]
    rig.push(removed=("w",))
    assert (cluster.known, labels(cluster)) == (False, [])


def test_workloads_without_an_address_are_left_out() -> None:
    rig = Rig()
    web = service("web")
    rig.push(web, replace(pod(1, web), addresses=()))
    assert labels(rig.clusters.use(NAMESPACE, WEB)) == []


def test_dump() -> None:
    rig = Rig()
    web = service("web")
    rig.push(web, pod(1, web))
    rig.clusters.use(NAMESPACE, WEB)
    assert rig.clusters.dump() == {
        f"{NAMESPACE}/{WEB}": {
            "known": True,
            "endpoints": {"10.0.0.1:8080": {"idle": 0}},
        }
    }
