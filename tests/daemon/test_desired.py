from __future__ import annotations

from bpf.addresses import mapped
from bpf.layout import Address, AddressKey, AddressKind, Endpoint, Family, Pod
from daemon.desired import Desired
from daemon.scope import Scope
from tests.daemon.meshes import (
    by_address,
    by_name,
    desired_of,
    ip,
    key_of,
    port_key,
    service,
    state_of,
    uid_of,
    workload,
)
from ztunnel_compat.model import Service, Workload
from ztunnel_compat.names import name_hash
from ztunnel_compat.state import WorkloadState

GATE = name_hash(key_of("gate"))


def at(text: str) -> AddressKey:
    return AddressKey(mapped(ip(text)))


def push(
    state: WorkloadState,
    desired: Desired,
    *resources: Service | Workload,
    gone: tuple[str, ...] = (),
) -> Scope:
    scope = Scope()
    changes = state.apply(resources, gone)
    for key in changes.services:
        desired.service_changed(key, scope)
    for uid in changes.workloads:
        desired.workload_changed(uid, scope)
    desired.settle(scope)
    return scope


def test_a_small_mesh() -> None:
    desired = desired_of(
        state_of(
            service("web", "10.96.0.1", waypoint=by_name("gate")),
            service("gate", "10.96.0.9", ports={15008: 15008}),
            workload("a", "10.0.0.1", of=("web",)),
            workload("g", "10.0.0.9", of=("gate",), tunnel=15088),
        ),
        {7: uid_of("a"), 8: uid_of("g"), 9: uid_of("stranger")},
    )
    assert desired.addresses == {
        at("10.96.0.1"): Address(name_hash(key_of("web")), GATE, AddressKind.SERVICE, 0),
        at("10.96.0.9"): Address(GATE, 0, AddressKind.SERVICE, 0),
        at("10.0.0.1"): Address(name_hash(uid_of("a")), 0, AddressKind.WORKLOAD, 0),
        at("10.0.0.9"): Address(name_hash(uid_of("g")), 0, AddressKind.WORKLOAD, 15088),
    }
    assert desired.sets == {
        port_key("web", 80): (Endpoint(at("10.0.0.1").address, 8080),),
        port_key("gate", 15008): (Endpoint(at("10.0.0.9").address, 15008),),
        port_key("gate", 0): (Endpoint(at("10.0.0.9").address, 15088),),
        port_key("gate", 0, Family.IPV6): (),
    }
    assert desired.pods == {
        7: Pod(name_hash(uid_of("a")), 0),
        8: Pod(name_hash(uid_of("g")), GATE),
        9: Pod(name_hash(uid_of("stranger")), 0),
    }
    assert desired.problems() == {}


def test_one_endpoint_touches_one_service() -> None:
    state = state_of(service("web", "10.96.0.1"), service("db", "10.96.0.2"))
    desired = desired_of(state)
    scope = push(state, desired, workload("a", "10.0.0.1", of=("web",)))
    assert scope == Scope(set(), {at("10.96.0.1"), at("10.0.0.1")}, {port_key("web", 80)})


def test_a_waypoint_that_is_not_there_refuses_instead_of_being_passed() -> None:
    state = state_of(service("web", "10.96.0.1", waypoint=by_address("10.96.0.9")))
    desired = desired_of(state)
    assert desired.addresses[at("10.96.0.1")].waypoint == name_hash("/10.96.0.9")
    push(state, desired, service("gate", "10.96.0.9"))
    assert desired.addresses[at("10.96.0.1")].waypoint == GATE
    assert desired.sets[port_key("gate", 0)] == ()
    push(state, desired, gone=(key_of("gate"),))
    assert desired.addresses[at("10.96.0.1")].waypoint == name_hash("/10.96.0.9")
    assert port_key("gate", 0) not in desired.sets


def test_becoming_a_waypoint_and_ceasing_to_be_one() -> None:
    state = state_of(
        service("web", "10.96.0.1"),
        service("gate", "10.96.0.9"),
        workload("g", "10.0.0.9", of=("gate",), tunnel=15088),
    )
    desired = desired_of(state, {8: uid_of("g")})
    assert desired.pods[8].waypoint == 0
    scope = push(state, desired, service("web", "10.96.0.1", waypoint=by_name("gate")))
    assert desired.pods[8].waypoint == GATE
    assert 8 in scope.pods
    assert desired.sets[port_key("gate", 0)]
    scope = push(state, desired, service("web", "10.96.0.1"))
    assert desired.pods[8].waypoint == 0
    assert port_key("gate", 0) not in desired.sets
    assert port_key("gate", 0) in scope.ports


def test_a_workloads_waypoint() -> None:
    desired = desired_of(state_of(workload("a", "10.0.0.1", waypoint=by_name("gate"))))
    assert desired.addresses[at("10.0.0.1")].waypoint == GATE


def test_a_pod_behind_a_waypoint_follows_its_services() -> None:
    state = state_of(
        service("web", "10.96.0.1", waypoint=by_name("gate")), service("gate", "10.96.0.9")
    )
    desired = desired_of(state, {8: uid_of("g")})
    push(state, desired, workload("g", "10.0.0.9", of=("gate",)))
    assert desired.pods[8].waypoint == GATE
    push(state, desired, gone=(uid_of("g"),))
    assert desired.pods[8].waypoint == 0


def test_a_shared_address_goes_to_the_service_and_falls_back() -> None:
    state = state_of(workload("a", "10.96.0.1"), service("web", "10.96.0.1"))
    desired = desired_of(state)
    assert desired.addresses[at("10.96.0.1")].kind == AddressKind.SERVICE
    push(state, desired, gone=(key_of("web"),))
    assert desired.addresses[at("10.96.0.1")].kind == AddressKind.WORKLOAD
    push(state, desired, gone=(uid_of("a"),))
    assert desired.addresses == {}


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


def test_adopted_pods_keep_their_waypoint_until_the_first_push_is_complete() -> None:
    state = WorkloadState()
    name = name_hash(uid_of("g"))
    desired = Desired(state, "", {8: Pod(name, GATE), 9: Pod(1, GATE)})
    scope = Scope()
    desired.enroll(8, uid_of("g"), scope)
    desired.enroll(9, uid_of("g"), scope)
    assert desired.pods == {8: Pod(name, GATE), 9: Pod(name, 0)}
    desired.settle(scope)
    assert desired.pods == {8: Pod(name, 0), 9: Pod(name, 0)}


def test_a_netns_changes_hands() -> None:
    desired = desired_of(state_of(), {8: uid_of("g")})
    scope = Scope()
    desired.enroll(8, uid_of("h"), scope)
    assert desired.pods == {8: Pod(name_hash(uid_of("h")), 0)}
    desired.dismiss(8, scope)
    desired.dismiss(8, scope)
    assert desired.pods == {}
    assert scope.pods == {8}
    assert desired.cookies_of == {}


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
    assert port_key("gate", 0) in desired.sets


def test_a_pod_behind_two_waypoints_has_the_first_by_name() -> None:
    desired = desired_of(
        state_of(
            service("web", "10.96.0.1", waypoint=by_name("gate")),
            service("db", "10.96.0.2", waypoint=by_name("zone")),
            workload("g", "10.0.0.9", of=("zone", "gate")),
        ),
        {8: uid_of("g")},
    )
    assert desired.pods[8].waypoint == GATE
