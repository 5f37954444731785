from __future__ import annotations

import ipaddress
import logging
from dataclasses import replace

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.buffer.v3 import buffer_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_pb
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_pb
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import UInt32Value

from tests.waypoint.http2.peers import client2
from tests.waypoint.mesh import (
    HTTP_PORT,
    ME,
    NAMESPACE,
    TCP_PORT,
    host,
    hostname,
    routes,
    running,
    service,
    to,
)
from tests.waypoint.wire import client, request, upstream
from waypoint.clusters import Clusters, cluster_name
from waypoint.filters.decode import TYPE_URL as FILTERS_URL
from waypoint.filters.kinds import KINDS
from waypoint.routing import NOBODY, DirectResponse
from waypoint.streams import TYPE_URL as STREAMS_URL
from waypoint.targets import GRACE, MEMORY, OWN, POD_FILTERS, POD_STREAMS, Target, Targets
from ztunnel_compat.model import (
    AppProtocol,
    Extension,
    GatewayAddress,
    NamespacedHostname,
    NetworkAddress,
    Service,
    Workload,
)
from ztunnel_compat.names import name_hash, target_hash
from ztunnel_compat.peer import FLOW_SERVICE, FLOW_WAYPOINT, Peer
from ztunnel_compat.state import WorkloadState

BOTH = FLOW_WAYPOINT | FLOW_SERVICE
VIP = ipaddress.ip_address("10.96.0.9").packed
GATE = replace(service("gate", mine=False), ports=(), addresses=(NetworkAddress("", VIP),))


BUFFER = buffer_pb2.Buffer(max_request_bytes=UInt32Value(value=10))


class Rig:
    def __init__(self) -> None:
        self.state = WorkloadState()
        self.clusters = Clusters(self.state)
        self.time = 0.0
        self.targets = Targets(
            state=self.state,
            clusters=self.clusters,
            namespace=NAMESPACE,
            gateway="gate",
            now=lambda: self.time,
        )
        self.push(GATE)

    def push(self, *resources: Service | Workload, removed: tuple[str, ...] = ()) -> None:
        self.targets.apply(self.state.apply(resources, removed))

    def find(
        self, name: str, port: int, flags: int = FLOW_WAYPOINT | FLOW_SERVICE
    ) -> Target | None:
        number = target_hash(name_hash(name), port)
        return self.targets.find(Peer(1, number, bytes(16), port, flags))

    def web(self) -> Target:
        target = self.find(service("web").key, HTTP_PORT)
        assert target is not None
        return target


def routed(name: str, to_name: str) -> Extension:
    return routes(name, host({"name": "r", "match": {"prefix": "/"}, "route": to(to_name)}))


BAD = routes("web", host({"match": {"prefix": "/"}, "filterAction": {}}))


def test_ports_of_a_service_that_names_this_waypoint() -> None:
    rig = Rig()
    rig.push(service("web"), service("other", mine=False))
    web = rig.web()
    assert (web.name, web.port, web.protocol) == (service("web").key, 80, AppProtocol.HTTP11)
    assert web.table.cluster_names() == {cluster_name(hostname("web"), 80)}
    assert rig.find(service("web").key, TCP_PORT) is not None
    assert rig.find(service("web").key, 81) is None
    assert rig.find(service("other").key, HTTP_PORT) is None
    assert rig.find(GATE.key, 15008) is None


@pytest.mark.parametrize(
    ("waypoint", "mine"),
    [
        (ME, True),
        (GatewayAddress(NamespacedHostname("", hostname("gate"))), True),
        (GatewayAddress(NetworkAddress("", VIP)), True),
        (GatewayAddress(NetworkAddress("other", VIP)), False),
        (GatewayAddress(NamespacedHostname(NAMESPACE, hostname("gate2"))), False),
        (GatewayAddress(NamespacedHostname("far", hostname("gate"))), False),
        (None, False),
    ],
)
def test_who_names_this_waypoint(waypoint: GatewayAddress | None, mine: bool) -> None:
    rig = Rig()
    rig.push(replace(service("web"), waypoint=waypoint))
    assert (rig.find(service("web").key, HTTP_PORT) is not None) is mine


def test_the_waypoint_s_own_service_may_come_last() -> None:
    rig = Rig()
    rig.push(removed=(GATE.key,))
    rig.push(replace(service("web"), waypoint=GatewayAddress(NetworkAddress("", VIP))))
    assert rig.find(service("web").key, HTTP_PORT) is None
    rig.push(GATE)
    assert rig.web()


def test_routes_are_compiled_once_per_push() -> None:
    rig = Rig()
    rig.push(service("web", routed("web", "v1")))
    first = rig.web()
    assert first.clusters.keys() == {"", cluster_name(hostname("v1"), 80)}
    rig.push(replace(service("web", routed("web", "v1")), subject_alt_names=("x",)))
    assert rig.web() is first
    rig.push(service("web", routed("web", "v2")))
    second = rig.web()
    assert second.generation == 2
    assert second.table is not first.table
    assert set(rig.clusters.clusters) == {
        (NAMESPACE, cluster_name(hostname(name), port))
        for name, port in (("web", 80), ("v2", 80), ("web", 90))
    }
    rig.push(service("web"))
    assert rig.web().table.name == "default"


def test_bad_routes_leave_the_last_good_ones(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    rig.push(service("web", routed("web", "v1")))
    good = rig.web().table
    with caplog.at_level(logging.ERROR):
        rig.push(service("web", BAD))
    assert rig.web().table is good
    assert "filter_action" in rig.web().error
    assert rig.targets.errors() == {f"{service('web').key}:80": rig.web().error}
    assert "filter_action" in caplog.text
    rig.push(service("web", routed("web", "v2")))
    assert rig.targets.errors() == {}


def test_bad_routes_without_a_predecessor_are_refused_to_clients() -> None:
    rig = Rig()
    rig.push(service("web", BAD))
    (route,) = rig.web().table.hosts[0].routes
    assert isinstance(route.action, DirectResponse)
    assert route.action.status == 500


def test_configuration_of_another_type_is_an_error() -> None:
    rig = Rig()
    rig.push(service("web", replace(routed("web", "v1"), type_url="type.googleapis.com/x.Y")))
    assert "x.Y" in rig.web().error


def test_what_leaves_is_served_for_as_long_as_a_node_may_not_know() -> None:
    rig = Rig()
    rig.push(service("web"))
    rig.push(service("web", mine=False))
    number = target_hash(name_hash(service("web").key), HTTP_PORT)
    assert number in rig.targets.leaving
    rig.time = GRACE - 1
    assert rig.targets.expire() == []
    assert rig.web()
    rig.time = GRACE
    assert number in rig.targets.expire()
    assert rig.web()
    rig.time = MEMORY
    assert number in rig.targets.expire()
    assert rig.find(service("web").key, HTTP_PORT) is None
    assert rig.clusters.clusters == {}
    assert rig.targets.expire() == []


def test_what_comes_back_stays() -> None:
    rig = Rig()
    rig.push(service("web"))
    rig.push(removed=(service("web").key,))
    rig.push(service("web"))
    rig.time = MEMORY * 2
    assert rig.targets.expire() == []
    assert rig.web()


def test_a_changed_protocol_applies() -> None:
    rig = Rig()
    rig.push(service("web"))
    ports = tuple(replace(p, app_protocol=AppProtocol.TCP) for p in service("web").ports)
    rig.push(replace(service("web"), ports=ports))
    assert rig.web().protocol is AppProtocol.TCP


def test_any_port_of_a_workload_that_names_this_waypoint() -> None:
    rig = Rig()
    workload = Workload(uid="w", namespace=NAMESPACE, addresses=(VIP,), waypoint=ME)
    rig.push(workload, replace(workload, uid="plain", waypoint=None))
    target = rig.find("w", 1234, FLOW_WAYPOINT)
    assert target is not None
    assert (target.protocol, target.port) == (AppProtocol.UNKNOWN, 1234)
    assert rig.find("w", 1234, FLOW_WAYPOINT) is target
    assert [e.label for e in target.clusters[""].balance.endpoints] == ["10.96.0.9:1234"]
    assert rig.find("plain", 1234, FLOW_WAYPOINT) is None
    assert rig.find("w", 99, FLOW_WAYPOINT | FLOW_SERVICE) is None
    rig.push(removed=("w",))
    assert rig.find("w", 1234, FLOW_WAYPOINT) is None
    assert rig.clusters.clusters == {}


def test_a_workload_that_leaves_is_served_as_long_as_a_service() -> None:
    rig = Rig()
    workload = Workload(uid="w", namespace=NAMESPACE, addresses=(VIP,), waypoint=ME)
    asked, later = (target_hash(name_hash("w"), port) for port in (1234, 99))
    rig.push(workload)
    rig.find("w", 1234, FLOW_WAYPOINT)
    rig.push(replace(workload, waypoint=None))
    assert rig.find("w", 99, FLOW_WAYPOINT), "by a node that doesn't know yet"
    rig.time = GRACE
    assert set(rig.targets.expire()) == {asked, later} == set(rig.targets.leaving)
    rig.push(workload)
    assert rig.targets.leaving == {}
    rig.push(replace(workload, waypoint=None))
    rig.time += MEMORY
    assert set(rig.targets.expire()) == {asked, later}
    assert rig.find("w", 1234, FLOW_WAYPOINT) is None
    assert rig.clusters.clusters == {}
    assert rig.targets.leaving == {}


def test_workload_targets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waypoint.targets.WORKLOAD_TARGETS", 3)
    rig = Rig()
    rig.push(Workload(uid="w", namespace=NAMESPACE, waypoint=ME))
    for port in range(1, 10):
        assert rig.find("w", port, FLOW_WAYPOINT)
    assert len(rig.targets.workloads) == 3
    assert len(rig.clusters.clusters) == 3


def denying(streams: bool) -> Extension:
    """What refuses everybody at workloads' own addresses."""
    policy = rbac_pb2.Policy()
    policy.permissions.add().any = True
    policy.principals.add().any = True
    rules = rbac_pb2.RBAC(action=rbac_pb2.RBAC.DENY, policies={"p": policy})
    if streams:
        listener = Listener(name=POD_STREAMS)
        chain = listener.filter_chains.add(name="own")
        filters = network_pb.RBAC(rules=rules, stat_prefix="x")
        chain.filters.add(name="rbac").typed_config.Pack(filters)
        proxy = TcpProxy(stat_prefix="x", cluster="inbound-pod")
        chain.filters.add(name="proxy").typed_config.Pack(proxy)
        return Extension(POD_STREAMS, STREAMS_URL, listener.SerializeToString())
    manager = HttpConnectionManager()
    manager.http_filters.add(name="rbac").typed_config.Pack(http_pb.RBAC(rules=rules))
    return Extension(POD_FILTERS, FILTERS_URL, manager.SerializeToString())


def test_what_holds_for_workloads_addresses_is_the_waypoints_own() -> None:
    rig = Rig()
    rig.targets.kinds = KINDS
    rig.push(Workload(uid="w1", namespace=NAMESPACE, waypoint=ME))
    before = rig.find("w1", 8080, FLOW_WAYPOINT)
    assert before is not None
    assert not before.chain.filters
    assert before.stream_chain("", NOBODY) is OWN
    rig.push(replace(GATE, extensions=(denying(False), denying(True))))
    # Connections that are there look their target up by its hash.
    (after,) = rig.targets.workloads.values()
    assert after is rig.find("w1", 8080, FLOW_WAYPOINT)
    assert [placed.filter.name for placed in after.chain.filters] == ["rbac"]
    chain = after.stream_chain("", NOBODY)
    assert chain is not None
    assert chain.access
    assert after.stream_cluster(chain, 0.5) is after.clusters[""]
    rig.push(replace(GATE, extensions=(Extension(POD_FILTERS, FILTERS_URL, b"bad"),)))
    assert "pods" in rig.targets.errors()
    (kept,) = rig.targets.workloads.values()
    assert kept.chain is after.chain
    assert kept.stream_chain("", NOBODY) is OWN
    rig.push(GATE)
    assert not rig.targets.errors()
    (last,) = rig.targets.workloads.values()
    assert not last.chain.filters


@pytest.mark.parametrize("speaks", ["HTTP/1.1", "HTTP/2", "bytes"])
async def test_it_holds_for_connections_whose_target_was_let_go(
    monkeypatch: pytest.MonkeyPatch, speaks: str
) -> None:
    monkeypatch.setattr("waypoint.targets.WORKLOAD_TARGETS", 1)
    async with running() as mesh, upstream() as server:
        here = bytes([127, 0, 0, 1])
        mesh.push(Workload(uid="w", namespace=NAMESPACE, addresses=(here,), waypoint=ME))
        mesh.asked = ("w", server.port, FLOW_WAYPOINT)

        def refuse_from_now_on() -> None:
            number = target_hash(name_hash("w"), 9)
            assert mesh.worker.targets.find(Peer(1, number, bytes(16), 9, FLOW_WAYPOINT))
            assert list(mesh.worker.targets.workloads) == [number]
            mesh.push(replace(GATE, extensions=(denying(False), denying(True))))

        if speaks == "HTTP/2":
            async with client2(mesh) as two:
                assert (await two.response(await two.get("/")))[0][b":status"] != b"403"
                refuse_from_now_on()
                assert (await two.response(await two.get("/")))[0][b":status"] == b"403"
            return
        async with client(mesh) as peer:
            await peer.send(b"hi there\r\n\r\n" if speaks == "bytes" else request("/"))
            assert (await peer.response())[1] == b"hello"
            refuse_from_now_on()
            if speaks == "bytes":
                with pytest.raises(ConnectionResetError):
                    await peer.rest()
            else:
                assert (await peer.get("/"))[0].startswith(b"http/1.1 403 ")


@pytest.mark.parametrize(
    ("policy", "others", "streams", "takes"),
    [
        (False, (), False, True),
        (True, (), False, False),
        (True, (), True, True),
        (False, (BUFFER,), False, False),
        (False, (BUFFER,), True, False),
        (True, (BUFFER,), True, False),
    ],
)
def test_bytes_go_past_no_filter_that_knows_requests_only(
    policy: bool, others: tuple[Message, ...], streams: bool, takes: bool
) -> None:
    manager = HttpConnectionManager.FromString(denying(False).value if policy else b"")
    for each in others:
        manager.http_filters.add(name="other").typed_config.Pack(each)
    filters = Extension(POD_FILTERS, FILTERS_URL, manager.SerializeToString())
    rig = Rig()
    rig.targets.kinds = KINDS
    riding = (filters, denying(True)) if streams else (filters,)
    rig.push(Workload(uid="w1", namespace=NAMESPACE, waypoint=ME))
    rig.push(replace(GATE, extensions=riding))
    target = rig.find("w1", 8080, FLOW_WAYPOINT)
    assert target is not None
    assert not rig.targets.errors()
    assert target.takes_bytes is takes


def test_what_an_address_stands_for() -> None:
    rig = Rig()
    pod = ipaddress.ip_address("10.244.0.9").packed
    at = ipaddress.ip_address("10.97.0.1").packed
    other = NetworkAddress("elsewhere", at)
    wide = NetworkAddress("", ipaddress.ip_address("10.97.0.0").packed, 16)
    narrow = NetworkAddress("", ipaddress.ip_address("10.97.0.0").packed, 24)
    rig.push(
        replace(service("web"), addresses=(NetworkAddress("", VIP), other)),
        replace(service("strange", mine=False), addresses=(NetworkAddress("", at),)),
        replace(service("wide"), addresses=(wide,)),
        Workload(uid="w", namespace=NAMESPACE, addresses=(pod,), waypoint=ME),
        Workload(uid="v", namespace=NAMESPACE, addresses=(pod[:3] + b"\x0a",)),
    )

    def number(name: str) -> int:
        return target_hash(name_hash(name), HTTP_PORT)

    assert rig.targets.asked(VIP, HTTP_PORT) == (number(service("web").key), FLOW_SERVICE)
    assert rig.targets.asked(VIP, 81) is None
    assert rig.targets.asked(pod, HTTP_PORT) == (number("w"), 0)
    assert rig.targets.asked(pod[:3] + b"\x0a", HTTP_PORT) is None
    assert rig.targets.asked(at, HTTP_PORT) == (number(service("wide").key), FLOW_SERVICE)
    rig.push(replace(service("narrow"), addresses=(narrow,)))
    assert rig.targets.asked(at, HTTP_PORT) == (number(service("narrow").key), FLOW_SERVICE)
    assert rig.targets.asked(bytes(16), HTTP_PORT) is None


def test_an_address_of_several_services_stands_for_the_one_behind_this_waypoint() -> None:
    rig = Rig()
    shared = (NetworkAddress("", VIP),)
    rig.push(replace(service("a"), addresses=shared), replace(GATE, addresses=()))
    rig.push(replace(service("z", mine=False), addresses=shared))
    found = rig.targets.asked(VIP, HTTP_PORT)
    assert found == (target_hash(name_hash(service("a").key), HTTP_PORT), FLOW_SERVICE)
