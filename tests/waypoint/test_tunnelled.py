from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from tests.waypoint.mesh import CLIENT, HTTP_PORT, ME, NAMESPACE, hostname, service
from waypoint.clusters import Clusters
from waypoint.targets import Targets
from waypoint.tunnelled import original, tunnelled
from ztunnel_compat.identity import Identity
from ztunnel_compat.model import NetworkAddress, Workload
from ztunnel_compat.names import name_hash, target_hash
from ztunnel_compat.peer import FLOW_SERVICE, FLOW_TUNNELLED, parse_peer
from ztunnel_compat.proxy_protocol import ProxyHeader
from ztunnel_compat.state import WorkloadState

VIP, POD, CALLER = bytes([10, 96, 0, 7]), bytes([10, 0, 0, 2]), bytes([10, 0, 0, 9])
WHO = Identity("cluster.local", NAMESPACE, "default")
WEB = f"{NAMESPACE}/{hostname('web')}"


def targets() -> Targets:
    state = WorkloadState()
    made = Targets(
        state=state, clusters=Clusters(state), namespace=NAMESPACE, gateway="gate", now=float
    )
    web = replace(service("web"), addresses=(NetworkAddress("", VIP),))
    pod = Workload("pod", namespace=NAMESPACE, addresses=(POD,), waypoint=ME)
    caller = Workload(CLIENT, namespace=NAMESPACE, addresses=(CALLER,))
    gate = replace(service("gate", mine=False), ports=())
    made.apply(state.apply([gate, web, pod, caller], ()))
    return made


def header(destination: bytes, port: int, identity: Identity = WHO) -> ProxyHeader:
    return ProxyHeader(CALLER, 4711, destination, port, identity)


@pytest.mark.parametrize(
    ("destination", "name", "service_flag"), [(VIP, WEB, FLOW_SERVICE), (POD, "pod", 0)]
)
def test_services_and_workloads(destination: bytes, name: str, service_flag: int) -> None:
    made = targets()
    found = tunnelled(made, partial(made.state.workload_at, ""), header(destination, HTTP_PORT))
    assert found is not None
    caller, target = found
    assert (target.name, target.port) == (name, HTTP_PORT)
    assert caller.peer.target == target_hash(name_hash(name), HTTP_PORT)
    assert caller.peer.source == name_hash(CLIENT)
    assert caller.peer.flags == FLOW_TUNNELLED | service_flag
    assert caller.identity == str(WHO)
    assert (caller.client.policy, caller.client.labels[4]) == ("mutual_tls", str(WHO))
    assert caller.client.labels[-1] == "Kubernetes"
    address = ".".join(map(str, destination))
    assert caller.log == f"{address}:80 10.0.0.9:4711 -"


def test_who_proves_to_be_another_than_whose_address_it_has_is_no_known_workload() -> None:
    made = targets()
    other = Identity("cluster.local", NAMESPACE, "other")
    found = tunnelled(made, partial(made.state.workload_at, ""), header(VIP, HTTP_PORT, other))
    assert found is not None
    assert (found[0].peer.source, found[0].identity) == (0, str(other))
    assert (found[0].client.labels[0], found[0].client.labels[4]) == ("unknown", str(other))


@pytest.mark.parametrize(("destination", "port"), [(VIP, 81), (CALLER, 80), (b"\1\2\3\4", 80)])
def test_what_is_not_of_this_waypoint(destination: bytes, port: int) -> None:
    made = targets()
    workload_at = partial(made.state.workload_at, "")
    assert tunnelled(made, workload_at, header(destination, port)) is None


def test_what_was_asked_by_name_goes_before_the_address() -> None:
    made = targets()
    asked = target_hash(name_hash(WEB), HTTP_PORT), FLOW_SERVICE
    found = tunnelled(
        made, partial(made.state.workload_at, ""), header(bytes(4), HTTP_PORT), asked
    )
    assert found is not None
    assert found[1].name == WEB


def test_the_original_address() -> None:
    mapped = bytes(10) + b"\xff\xff" + bytes([10, 0, 0, 1])
    for packed, text in ((mapped, "10.0.0.1:80"), (bytes(15) + b"\1", "[::1]:80")):
        answer = bytes(16) + packed + (80).to_bytes(2, "big") + bytes(38)
        assert original(parse_peer(answer)) == text
