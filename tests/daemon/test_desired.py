from __future__ import annotations

from bpf.layout import Address, AddressFlag, AddressKey, AddressKind, Family, Pod
from daemon.desired import Desired
from daemon.scope import Scope
from tests.daemon.meshes import (
    addresses,
    at,
    balanced,
    by_address,
    by_name,
    cookie,
    desired_of,
    end,
    endpoints,
    ends,
    key_of,
    pods,
    port_key,
    push,
    service,
    state_of,
    uid_of,
    workload,
)
from ztunnel_compat.model import Locality
from ztunnel_compat.names import name_hash

GATE = name_hash(key_of("gate"))


def address(desired: Desired, text: str, namespace: str = "") -> Address:
    return Address.unpack(desired.content.addresses[at(text, namespace)])


def waypoint_of(desired: Desired, number: int) -> int:
    return pods(desired.content.pods)[number].waypoint


def test_a_small_mesh() -> None:
    desired = desired_of(
        state_of(
            service("web", "10.96.0.1", waypoint=by_name("gate")),
            service("gate", "10.96.0.9", ports={15008: 15008}),
            workload("a", "10.0.0.1", of=("web",)),
            workload("g", "10.0.0.9", of=("gate",), tunnel=15088, node="n1"),
        ),
        {7: uid_of("a"), 8: uid_of("g"), 9: uid_of("stranger")},
    )
    assert addresses(desired.content.addresses) == {
        AddressKey.unpack(at("10.96.0.1")): Address(
            name_hash(key_of("web")), GATE, AddressKind.SERVICE
        ),
        AddressKey.unpack(at("10.96.0.9")): Address(GATE, 0, AddressKind.SERVICE),
        AddressKey.unpack(at("10.0.0.1")): Address(
            name_hash(uid_of("a")), 0, AddressKind.WORKLOAD
        ),
        AddressKey.unpack(at("10.0.0.9")): Address(
            name_hash(uid_of("g")), 0, AddressKind.WORKLOAD, AddressFlag.LOCAL
        ),
    }
    assert desired.content.ports == {
        port_key("web", 80): ends(end("10.0.0.1", 8080, "a")),
        port_key("gate", 15008): ends(end("10.0.0.9", 15008, "g", AddressFlag.LOCAL)),
        port_key("gate", 0): ends(end("10.0.0.9", 15088, "g", AddressFlag.LOCAL)),
        port_key("gate", 0, Family.IPV6): b"",
    }
    identity = name_hash("spiffe://cluster.local/ns/app/sa/default")
    assert pods(desired.content.pods) == {
        7: Pod(name_hash(uid_of("a")), 0, identity, name_hash("app")),
        8: Pod(name_hash(uid_of("g")), GATE, identity, name_hash("app")),
        9: Pod(name_hash(uid_of("stranger"))),
    }
    assert desired.problems() == {}


def test_one_endpoint_touches_one_service() -> None:
    state = state_of(service("web", "10.96.0.1"), service("db", "10.96.0.2"))
    desired = desired_of(state)
    scope = push(state, desired, workload("a", "10.0.0.1", of=("web",)))
    assert scope == Scope(addresses={at("10.0.0.1")}, ports={port_key("web", 80)})


def test_a_waypoint_that_is_not_there_refuses_instead_of_being_passed() -> None:
    state = state_of(service("web", "10.96.0.1", waypoint=by_address("10.96.0.9")))
    desired = desired_of(state)
    assert address(desired, "10.96.0.1").waypoint == name_hash("/10.96.0.9")
    push(state, desired, service("gate", "10.96.0.9"))
    assert address(desired, "10.96.0.1").waypoint == GATE
    assert desired.content.ports[port_key("gate", 0)] == b""
    push(state, desired, gone=(key_of("gate"),))
    assert address(desired, "10.96.0.1").waypoint == name_hash("/10.96.0.9")
    assert port_key("gate", 0) not in desired.content.ports


def test_becoming_a_waypoint_and_ceasing_to_be_one() -> None:
    state = state_of(
        service("web", "10.96.0.1"),
        service("gate", "10.96.0.9"),
        workload("g", "10.0.0.9", of=("gate",), tunnel=15088),
    )
    desired = desired_of(state, {8: uid_of("g")})
    assert waypoint_of(desired, 8) == 0
    scope = push(state, desired, service("web", "10.96.0.1", waypoint=by_name("gate")))
    assert waypoint_of(desired, 8) == GATE
    assert cookie(8) in scope.pods
    assert desired.content.ports[port_key("gate", 0)]
    scope = push(state, desired, service("web", "10.96.0.1"))
    assert waypoint_of(desired, 8) == 0
    assert port_key("gate", 0) not in desired.content.ports
    assert port_key("gate", 0) in scope.ports


def test_a_workloads_waypoint() -> None:
    desired = desired_of(state_of(workload("a", "10.0.0.1", waypoint=by_name("gate"))))
    assert address(desired, "10.0.0.1").waypoint == GATE


def test_a_pod_behind_a_waypoint_follows_its_services() -> None:
    state = state_of(
        service("web", "10.96.0.1", waypoint=by_name("gate")), service("gate", "10.96.0.9")
    )
    desired = desired_of(state, {8: uid_of("g")})
    push(state, desired, workload("g", "10.0.0.9", of=("gate",)))
    assert waypoint_of(desired, 8) == GATE
    push(state, desired, gone=(uid_of("g"),))
    assert waypoint_of(desired, 8) == 0


def test_a_shared_address_goes_to_the_service_and_falls_back() -> None:
    state = state_of(workload("a", "10.96.0.1"), service("web", "10.96.0.1"))
    desired = desired_of(state)
    assert address(desired, "10.96.0.1").kind == AddressKind.SERVICE
    push(state, desired, gone=(key_of("web"),))
    assert address(desired, "10.96.0.1").kind == AddressKind.WORKLOAD
    push(state, desired, gone=(uid_of("a"),))
    assert desired.content.addresses == {}


def test_problems_are_new_once() -> None:
    state = state_of(
        service("web", "10.96.0.1", waypoint=by_name("gate")),
        service("gate", "10.96.0.9"),
        workload("g", "10.0.0.9", of=("gate",)),
    )
    desired = desired_of(state)
    assert list(desired.problems()) == [key_of("gate")]
    assert len(desired.take_new_problems()) == 1
    desired.service_changed(key_of("gate"), Scope())
    assert desired.take_new_problems() == []


def test_a_netns_changes_hands() -> None:
    desired = desired_of(state_of(), {8: uid_of("g")})
    scope = Scope()
    desired.enroll(8, uid_of("h"), scope)
    assert pods(desired.content.pods) == {8: Pod(name_hash(uid_of("h")))}
    desired.dismiss(8, scope)
    desired.dismiss(8, scope)
    assert desired.content.pods == {}
    assert scope.pods == {cookie(8)}


def test_a_cgroup_is_enrolled_beside() -> None:
    desired = desired_of(state_of(workload("a", "10.0.0.1")), {8: uid_of("g")})
    scope = Scope()
    desired.enroll(8, uid_of("a"), scope, table="members")
    assert pods(desired.content.members)[8].workload == name_hash(uid_of("a"))
    assert pods(desired.content.pods)[8].workload == name_hash(uid_of("g"))
    assert scope == Scope(members={cookie(8)})
    desired.dismiss(8, scope, table="members")
    assert (len(desired.content.members), len(desired.content.pods)) == (0, 1)


def test_a_waypoint_that_changes_hands_within_one_push_stays_one() -> None:
    """Looked at while nobody names it, named again by another afterwards."""
    state = state_of(
        service("a", "10.96.0.1", waypoint=by_name("gate")),
        service("gate", "10.96.0.9"),
        service("z", "10.96.0.2"),
    )
    desired = desired_of(state)
    state.apply([service("a", "10.96.0.1"), service("z", waypoint=by_name("gate"))], ())
    scope = Scope()
    for name in ("a", "gate", "z"):
        desired.service_changed(key_of(name), scope)
    desired.settle(scope)
    assert port_key("gate", 0) in desired.content.ports


def test_a_pod_behind_two_waypoints_has_the_first_by_name() -> None:
    desired = desired_of(
        state_of(
            service("web", "10.96.0.1", waypoint=by_name("gate")),
            service("db", "10.96.0.2", waypoint=by_name("zone")),
            workload("g", "10.0.0.9", of=("zone", "gate")),
        ),
        {8: uid_of("g")},
    )
    assert waypoint_of(desired, 8) == GATE


def test_sets_are_made_again_when_it_is_known_where_the_node_is() -> None:
    state = state_of(
        service("web", "10.96.0.1", balancing=balanced("STRICT", "REGION")),
        service("db", "10.96.0.2"),
        workload("a", "10.0.0.1", of=("web", "db"), where="r1//"),
        workload("b", "10.0.0.2", of=("web", "db"), where="r2//"),
    )
    desired = desired_of(state)
    assert desired.content.ports[port_key("web", 80)] == b""
    scope = push(state, desired, workload("here", "10.0.0.3", where="r2//", node="n1"))
    assert desired.vantage.locality == Locality("r2")
    assert desired.content.ports[port_key("web", 80)] == ends(end("10.0.0.2", 8080, "b"))
    assert scope.ports == {port_key("web", 80)}
    assert len(endpoints(desired.content.ports[port_key("db", 80)])) == 2
    push(state, desired, workload("here", "10.0.0.3", where="r1//", node="n1"))
    assert desired.content.ports[port_key("web", 80)] == ends(end("10.0.0.1", 8080, "a"))
    push(state, desired, service("web", "10.96.0.1"), gone=(uid_of("here"),))
    assert desired.balanced == set()
    assert len(endpoints(desired.content.ports[port_key("web", 80)])) == 2


def test_an_endpoint_out_of_reach_is_a_problem() -> None:
    state = state_of(
        service("web", "10.96.0.1"), workload("a", "10.0.0.1", of=("web",), network="far")
    )
    desired = desired_of(state)
    said = "1 endpoints in other networks (far): left out"
    assert desired.problems() == {key_of("web"): (said,)}
    push(state, desired, workload("a", "10.0.0.1", of=("web",)))
    assert desired.problems() == {}


def test_a_headless_service_leads_to_its_pods_addresses_alone() -> None:
    desired = desired_of(
        state_of(service("web"), workload("a", "10.0.0.1", "fd00::1", of=("web",)))
    )
    assert desired.content.ports == {}
    assert set(desired.content.addresses) == {at("10.0.0.1"), at("fd00::1")}


def test_several_addresses_of_both_families_lead_to_one_service() -> None:
    vips = ("10.96.0.1", "10.96.0.2", "fd00:96::1")
    desired = desired_of(
        state_of(service("web", *vips), workload("a", "10.0.0.1", of=("web",)))
    )
    name = name_hash(key_of("web"))
    assert [address(desired, vip).name for vip in vips] == [name] * 3
    assert desired.content.ports[port_key("web", 80, Family.IPV6)] == b""


def test_an_accelerated_workload_says_so_everywhere() -> None:
    state = state_of(service("web", "10.96.0.1"), workload("a", "10.0.0.1", of=("web",)))
    desired = desired_of(state, {7: uid_of("a")})
    assert pods(desired.content.pods)[7].flags == 0
    push(state, desired, workload("a", "10.0.0.1", of=("web",), accelerate=True))
    assert pods(desired.content.pods)[7].flags == 4
    assert address(desired, "10.0.0.1").flags == AddressFlag.ACCELERATE
    (there,) = endpoints(desired.content.ports[port_key("web", 80)])
    assert there.flags == AddressFlag.ACCELERATE


def test_nothing_is_left_of_a_mesh_that_is_gone() -> None:
    state = state_of(
        service("web", "10.96.0.1", "10.97.0.0/16", waypoint=by_name("gate")),
        service("gate", "10.96.0.9"),
        workload(
            "a", "10.0.0.1", of=("web",), where="r/z/s", node="n1", waypoint=by_name("gate")
        ),
    )
    desired = desired_of(state)
    push(state, desired, gone=(key_of("web"), key_of("gate"), uid_of("a")))
    assert len(desired.content.whole()) == 0
    assert not desired.services
    assert not desired.addresses_of
    assert not desired.references
    assert not desired.localities.said
    assert not desired.waypoints.counts
    assert not state.service_ranges.claimants
    assert not desired.places.shapes
    assert not desired.places.entries_of
    assert not desired.places.namespaces_at
    assert not desired.places.common_ranges
