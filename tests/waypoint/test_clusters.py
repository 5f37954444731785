from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from tests.waypoint.mesh import HTTP_PORT, NAMESPACE, hostname, service
from waypoint.balancing.policies import RandomPolicy
from waypoint.cluster_settings import DEFAULTS
from waypoint.clusters import Cluster, Clusters, cluster_name, parse_cluster
from waypoint.decode_cluster import TYPE_URL
from waypoint.resilience.breakers import Resource
from waypoint.resilience.health import Checked, Result
from waypoint.resilience.outlier import Outcome
from ztunnel_compat.labels import LABELS_EXTENSION, STRUCT_TYPE
from ztunnel_compat.model import (
    AppProtocol,
    Extension,
    HealthPolicy,
    LoadBalancing,
    LoadBalancingMode,
    Locality,
    Scope,
    Service,
    ServicePort,
    Workload,
    WorkloadStatus,
)
from ztunnel_compat.state import WorkloadState

WEB = cluster_name(hostname("web"), HTTP_PORT)


class Rig:
    def __init__(self, home: str = "") -> None:
        self.state = WorkloadState()
        self.now = 1000.0
        self.clusters = Clusters(self.state, home=home, now=lambda: self.now)

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


def settings(subset: str = "", /, **fields: Any) -> Extension:
    """A Cluster message for the web service, from its JSON."""
    name = cluster_name(hostname("web"), HTTP_PORT, subset)
    message = cluster_pb2.Cluster()
    json_format.ParseDict({"name": name, **fields}, message)
    return Extension(name, TYPE_URL, message.SerializeToString())


def picked(cluster: Cluster) -> str:
    endpoint = cluster.pick(0.5)
    assert endpoint is not None
    return endpoint.label


def labels(cluster: Cluster) -> list[str]:
    return sorted(endpoint.label for endpoint in cluster.balance.endpoints)


@pytest.mark.parametrize(
    "name",
    ["", "a", "inbound|80||h", "outbound|x||h", "outbound|0||h",
     "outbound|65536||h", "outbound|80||", "outbound|\u0661||h"],
)  # fmt: skip
def test_names_of_another_form(name: str) -> None:
    assert parse_cluster(name) is None
    rig = Rig()
    assert not rig.clusters.use(NAMESPACE, name).known


def test_names() -> None:
    assert parse_cluster("outbound|80||a.b") == (80, "", "a.b")
    assert parse_cluster("outbound|80|v1|a.b") == (80, "v1", "a.b")
    assert cluster_name("a.b", 80, "v1") == "outbound|80|v1|a.b"


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
    (kept,) = cluster.balance.endpoints
    rig.push(pod(2, web, target=9090))
    assert labels(cluster) == ["10.0.0.1:8080", "10.0.0.2:9090"]
    assert kept in cluster.balance.endpoints
    rig.push(pod(1, web, status=1))
    assert labels(cluster) == ["10.0.0.2:9090"]
    assert kept.users == 0
    rig.push(removed=("w2",))
    assert labels(cluster) == []
    assert cluster.members == {}
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
    counts = Counter(picked(cluster) for _ in range(400))
    assert counts["10.0.0.1:8080"] in range(298, 303)


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


def test_clusters_share_no_endpoints() -> None:
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
    assert labels(second) == [endpoint.label]
    assert second.balance.endpoints != (endpoint,)
    rig.clusters.drop(first)
    assert endpoint.users == 1
    rig.clusters.drop(first)
    assert endpoint.users == 0
    rig.clusters.drop(second)
    assert (rig.clusters.clusters, rig.clusters.followers) == ({}, {})


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
    (dump,) = rig.clusters.dump().values()
    assert isinstance(dump, dict)
    assert (dump["known"], dump["error"]) == (True, "")
    assert dump["endpoints"]["10.0.0.1:8080"] == {
        "idle": 0,
        "active": 0,
        "weight": 1,
        "priority": 0,
        "healthy": True,
        "ejected": False,
        "checks": [],
    }


def test_settings_follow_the_state() -> None:
    rig = Rig()
    web = service("web")
    rig.push(web, pod(1, web))
    cluster = rig.clusters.use(NAMESPACE, WEB)
    assert cluster.settings is DEFAULTS
    (kept,) = cluster.balance.endpoints
    rig.push(replace(web, extensions=(settings(lbPolicy="RANDOM"),)))
    assert cluster.settings.policy == RandomPolicy()
    assert cluster.balance.endpoints == (kept,)
    # What can't be honoured leaves the last that could.
    rig.push(replace(web, extensions=(settings(filters=[{"name": "f"}]),)))
    assert cluster.settings.policy == RandomPolicy()
    assert "filters" in cluster.error
    assert labels(cluster) == ["10.0.0.1:8080"]
    rig.push(web)
    assert (cluster.settings, cluster.error) == (DEFAULTS, "")


def test_settings_that_were_never_understood_let_nobody_through() -> None:
    rig = Rig()
    web = replace(service("web"), extensions=(settings(transportSocket={"name": "tls"}),))
    rig.push(web, pod(1, web))
    cluster = rig.clusters.use(NAMESPACE, WEB)
    assert "transport_socket" in cluster.error
    assert (cluster.known, labels(cluster)) == (True, [])
    rig.push(replace(web, extensions=(Extension(WEB, "other", b""),)))
    assert "holds 'other'" in cluster.error


def labelled(workload: Workload, **labels: str) -> Workload:
    struct = Struct()
    struct.update(labels)
    riding = Extension(LABELS_EXTENSION, STRUCT_TYPE, struct.SerializeToString())
    return replace(workload, extensions=(riding,))


def test_subsets() -> None:
    rig = Rig()
    v1 = settings("v1", metadata={"filterMetadata": {"tandem.io/subset": {"version": "v1"}}})
    web = replace(service("web"), extensions=(v1,))
    rig.push(
        web,
        labelled(pod(1, web), version="v1", app="web"),
        labelled(pod(2, web), version="v2"),
        pod(3, web),
    )
    subset = rig.clusters.use(NAMESPACE, cluster_name(hostname("web"), HTTP_PORT, "v1"))
    assert (subset.known, labels(subset)) == (True, ["10.0.0.1:8080"])
    assert len(labels(rig.clusters.use(NAMESPACE, WEB))) == 3
    # One that nobody defined leads nowhere.
    assert not rig.clusters.use(NAMESPACE, "outbound|80|v9|" + hostname("web")).known
    rig.push(labelled(pod(2, web), version="v1"))
    assert len(labels(subset)) == 2
    rig.push(replace(web, extensions=()))
    assert (subset.known, labels(subset)) == (False, [])


def near(workload: Workload, region: str, zone: str = "") -> Workload:
    return replace(workload, locality=Locality(region, zone))


def test_the_services_preference_makes_priorities() -> None:
    rig = Rig(home="me")
    failover = LoadBalancing((Scope.REGION, Scope.ZONE), LoadBalancingMode.FAILOVER)
    web = replace(service("web"), load_balancing=failover)
    rig.push(
        web,
        Workload("me", locality=Locality("r1", "z1")),
        near(pod(1, web), "r2", "z1"),
        near(pod(2, web), "r1", "z2"),
    )
    cluster = rig.clusters.use(NAMESPACE, WEB)
    assert labels(cluster) == ["10.0.0.2:8080"]
    rig.push(near(pod(3, web), "r1", "z1"))
    assert labels(cluster) == ["10.0.0.3:8080"]
    # This waypoint is elsewhere now.
    rig.push(Workload("me", locality=Locality("r2", "z1")))
    assert labels(cluster) == ["10.0.0.1:8080"]
    strict = replace(failover, mode=LoadBalancingMode.STRICT)
    rig.push(replace(web, load_balancing=strict))
    assert labels(cluster) == ["10.0.0.1:8080"]
    rig.push(Workload("me", locality=Locality("r3")))
    assert labels(cluster) == []


def test_locality_failover_needs_outlier_detection() -> None:
    rig = Rig(home="me")
    said: dict[str, Any] = {"metadata": {"filterMetadata": {"tandem.io/locality": {}}}}
    web = replace(service("web"), extensions=(settings(**said),))
    rig.push(
        web,
        Workload("me", locality=Locality("r1")),
        near(pod(1, web), "r1"),
        near(pod(2, web), "r2"),
    )
    cluster = rig.clusters.use(NAMESPACE, WEB)
    assert len(labels(cluster)) == 2
    rig.push(replace(web, extensions=(settings(outlierDetection={}, **said),)))
    assert labels(cluster) == ["10.0.0.1:8080"]


def test_localities_may_have_shares() -> None:
    rig = Rig(home="me")
    rules = [{"from": "*", "to": {"r1": 90, "r2": 10}}]
    said = {"filterMetadata": {"tandem.io/locality": {"distribute": rules}}}
    web = replace(service("web"), extensions=(settings(metadata=said),))
    rig.push(
        web,
        Workload("me"),
        near(pod(1, web), "r1"),
        near(pod(2, web), "r2"),
        near(pod(3, web), "r3"),
    )
    cluster = rig.clusters.use(NAMESPACE, WEB)
    draw = random.Random(1)
    counts = Counter(cluster.pick(draw.random()) for _ in range(2000))
    assert len(counts) == 2
    assert max(counts.values()) in range(1750, 1850)


@pytest.mark.parametrize(
    ("protocol", "options", "http2"),
    [
        (AppProtocol.UNKNOWN, None, None),
        (AppProtocol.HTTP11, None, False),
        (AppProtocol.GRPC, None, True),
        (AppProtocol.HTTP11, {"explicitHttpConfig": {"http2ProtocolOptions": {}}}, True),
        (AppProtocol.HTTP2, {"explicitHttpConfig": {"httpProtocolOptions": {}}}, False),
        (AppProtocol.HTTP2, {"useDownstreamProtocolConfig": {}}, None),
    ],
)
def test_what_endpoints_are_spoken_to_in(
    protocol: AppProtocol, options: dict[str, Any] | None, http2: bool | None
) -> None:
    rig = Rig()
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    typed = {name: {"@type": f"type.googleapis.com/{name}", **(options or {})}}
    riding = (settings(typedExtensionProtocolOptions=typed),) if options else ()
    web = replace(
        service("web"), ports=(ServicePort(HTTP_PORT, 0, protocol),), extensions=riding
    )
    rig.push(web)
    assert rig.clusters.use(NAMESPACE, WEB).http2 is http2


def outlier_rig(**more: Any) -> tuple[Rig, Cluster]:
    rig = Rig()
    detection = {"consecutive5xx": 2, "maxEjectionPercent": 100, "interval": "1s"}
    web = replace(service("web"), extensions=(settings(outlierDetection=detection, **more),))
    rig.push(web, *(pod(number, web) for number in range(1, 4)))
    return rig, rig.clusters.use(NAMESPACE, WEB)


def test_who_fails_is_left_out_for_a_while() -> None:
    rig, cluster = outlier_rig()
    rig.clusters.advance()
    failing = cluster.balance.endpoints[0]
    for _ in range(2):
        failing.begin()
        failing.end(503)
    assert failing not in cluster.balance.endpoints
    assert failing.label not in {picked(cluster) for _ in range(50)}
    # Another push doesn't bring it back, only time does.
    rig.push(replace(pod(3, service("web")), capacity=2))
    assert failing not in cluster.balance.endpoints
    rig.now += 31
    rig.clusters.advance()
    assert failing in cluster.balance.endpoints


def test_in_panic_everybody_is_asked() -> None:
    _rig, cluster = outlier_rig()
    for endpoint in cluster.balance.endpoints[:2]:
        endpoint.report(500)
        endpoint.report(Outcome.RESET)
    assert len(cluster.balance.endpoints) == 3
    _rig, calm = outlier_rig(commonLbConfig={"healthyPanicThreshold": {}})
    for endpoint in calm.balance.endpoints:
        endpoint.report(500)
        endpoint.report(500)
    assert calm.pick(0.5) is None


def test_a_request_that_outlives_its_endpoint_reports_nothing() -> None:
    rig, cluster = outlier_rig()
    endpoint = cluster.balance.endpoints[0]
    endpoint.begin()
    rig.push(removed=(f"w{endpoint.host[-1]}",))
    for _ in range(3):
        endpoint.report(500)
    endpoint.end(500)
    assert (endpoint.active, cluster.outliers.ejected) == (0, 0)


def test_least_requests_follow_what_is_under_way() -> None:
    rig = Rig()
    web = service("web")
    rig.push(web, pod(1, web), pod(2, web))
    cluster = rig.clusters.use(NAMESPACE, WEB)
    busy = cluster.balance.endpoints[0]
    busy.begin()
    draw = random.Random(1)
    counts = Counter(cluster.pick(draw.random()) for _ in range(1000))
    assert counts[busy] in range(200, 300)
    busy.end()
    assert busy.active == 0


def test_sessions_stay_with_their_endpoints() -> None:
    rig = Rig()
    web = replace(service("web"), extensions=(settings(lbPolicy="RING_HASH"),))
    rig.push(web, *(pod(number, web) for number in range(1, 6)))
    cluster = rig.clusters.use(NAMESPACE, WEB)
    for key in range(0, 1 << 64, 1 << 58):
        first = cluster.pick(0.1, key)
        assert cluster.pick(0.9, key) is first
        assert cluster.pick(0.9, key, (first,)) not in {first, None}


def test_checks_decide_who_gets_requests() -> None:
    rig = Rig()
    check = {
        "timeout": "1s", "interval": "5s", "unhealthyThreshold": 1, "healthyThreshold": 1,
        "tcpHealthCheck": {},
    }  # fmt: skip
    panic: dict[str, Any] = {"commonLbConfig": {"healthyPanicThreshold": {}}}
    slow = {"slowStartConfig": {"slowStartWindow": "10s"}}
    riding = settings(healthChecks=[check], roundRobinLbConfig=slow, **panic)
    web = replace(service("web"), extensions=(riding,))
    rig.push(web, pod(1, web), pod(2, web))
    cluster = rig.clusters.use(NAMESPACE, WEB)
    assert cluster.pick(0.5) is None
    one, two = cluster.members.values()
    cluster.check(one, *one.checks, Result.GOOD)
    assert cluster.balance.endpoints == (one,)
    rig.now += 100
    # Its weight grows from when it was first found healthy.
    cluster.check(two, *two.checks, Result.GOOD)
    counts = Counter(picked(cluster) for _ in range(220))
    assert counts[two.label] in range(15, 25)
    (checked,) = one.checks
    cluster.check(one, checked, Result.FATAL)
    cluster.check(one, checked, Result.FATAL)
    assert cluster.balance.endpoints == (two,)
    # Without checks everybody counts again, and one that comes late says nothing.
    rig.push(replace(web, extensions=()))
    assert len(labels(cluster)) == 2
    cluster.check(one, checked, Result.FATAL)
    assert len(labels(cluster)) == 2


def test_all_checks_must_be_well() -> None:
    rig = Rig()
    check = {"timeout": "1s", "interval": "5s", "unhealthyThreshold": 2, "healthyThreshold": 2}
    riding = settings(
        healthChecks=[
            {**check, "tcpHealthCheck": {}},
            {**check, "httpHealthCheck": {"path": "/"}},
        ],
        commonLbConfig={"healthyPanicThreshold": {}},
        outlierDetection={"consecutive5xx": 1, "maxEjectionPercent": 100},
    )
    web = replace(service("web"), extensions=(riding,))
    rig.push(web, pod(1, web))
    cluster = rig.clusters.use(NAMESPACE, WEB)
    (one,) = cluster.members.values()
    tcp, http = one.checks

    def checked(check: Checked, *results: Result) -> bool:
        for result in results:
            cluster.check(one, check, result)
        return cluster.balance.endpoints == (one,)

    assert not checked(tcp, Result.GOOD)
    assert checked(http, Result.GOOD)
    # Each has its own count.
    assert checked(tcp, Result.BAD)
    assert checked(http, Result.BAD)
    assert not checked(tcp, Result.BAD)
    assert one.dump()["checks"] == [False, True]
    assert not checked(http, Result.BAD)
    assert not checked(tcp, Result.GOOD, Result.GOOD)
    assert checked(http, Result.GOOD, Result.GOOD)
    # One that was ejected comes back once all are well, not one of them.
    checked(tcp, Result.FATAL)
    one.begin()
    one.end(500)
    assert one.ejected
    checked(http, Result.GOOD)
    assert one.ejected
    assert checked(tcp, Result.GOOD, Result.GOOD)
    assert not one.ejected


def test_breakers_keep_their_counts() -> None:
    rig = Rig()
    web = service("web")
    rig.push(web)
    cluster = rig.clusters.use(NAMESPACE, WEB)
    assert cluster.breakers.default.take(Resource.REQUESTS)
    thresholds = {"circuitBreakers": {"thresholds": [{"maxRequests": 1}]}}
    rig.push(replace(web, extensions=(settings(**thresholds),)))
    assert not cluster.breakers.default.take(Resource.REQUESTS)
    cluster.breakers.default.free(Resource.REQUESTS)
    assert cluster.breakers.default.take(Resource.REQUESTS)
