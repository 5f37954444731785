from __future__ import annotations

import random

import pytest

from bpf.addresses import mapped
from bpf.layout import (
    Address,
    AddressKey,
    Endpoint,
    EndpointKey,
    Pod,
    Port,
    PortKey,
)
from bpf.maps import Maps
from daemon.content import EndpointSet
from daemon.desired import Desired
from daemon.program import Programmer, dump
from daemon.reconcile import (
    EMPTY,
    MAX_GENERATION,
    PAUSE,
    Delete,
    Group,
    Operation,
    Programmed,
    Put,
    leftovers,
    reconcile,
    undo,
)
from daemon.scope import Scope
from tests.daemon.meshes import (
    RandomMesh,
    desired_of,
    groups,
    ip,
    port_key,
    sets_in,
    uid_of,
)

VIP = AddressKey(mapped(ip("10.96.0.1")))
WEB = port_key("web", 80)
A, B, C = (Endpoint(mapped(ip(f"10.0.0.{n}")), 8080) for n in (1, 2, 3))
THERE = Address(name=7, waypoint=0, kind=1, identity_port=0)
MOVED = Address(name=7, waypoint=9, kind=1, identity_port=0)


def programmed(**tables: object) -> Programmed:
    base = {"pods": {}, "addresses": {}, "ports": {}, "endpoints": {}} | tables
    return Programmed.of(**{name: table.items() for name, table in base.items()})  # type: ignore[attr-defined]


WITH_WEB = {
    "addresses": {VIP: THERE},
    "ports": {WEB: Port(4, 2)},
    "endpoints": {EndpointKey(4, 0): A, EndpointKey(4, 1): B},
}
ALL = Scope({1, 2}, {VIP}, {WEB})


@pytest.mark.parametrize(
    ("what", "now", "pods", "addresses", "sets", "expected"),
    [
        (
            "a new service: endpoints, record, address",
            {},
            {},
            {VIP: THERE},
            {WEB: (A, B)},
            [
                Put(EndpointKey(1, 0), A),
                Put(EndpointKey(1, 1), B),
                Put(WEB, Port(1, 2)),
                Put(VIP, THERE),
            ],
        ),
        ("the same again: nothing", WITH_WEB, {}, {VIP: THERE}, {WEB: (A, B)}, []),
        (
            "another endpoint: a new generation, the old one last",
            WITH_WEB,
            {},
            {VIP: THERE},
            {WEB: (A, C)},
            [
                Put(EndpointKey(5, 0), A),
                Put(EndpointKey(5, 1), C),
                Put(WEB, Port(5, 2)),
                Delete(EndpointKey(4, 0)),
                Delete(EndpointKey(4, 1)),
            ],
        ),
        (
            "no endpoint left: an empty record, so that connections are refused",
            WITH_WEB,
            {},
            {VIP: THERE},
            {WEB: ()},
            [Put(WEB, EMPTY), Delete(EndpointKey(4, 0)), Delete(EndpointKey(4, 1))],
        ),
        (
            "a service that is gone: in reverse",
            WITH_WEB,
            {},
            {},
            {},
            [
                Delete(VIP),
                Delete(WEB),
                Delete(EndpointKey(4, 0)),
                Delete(EndpointKey(4, 1)),
            ],
        ),
        (
            "another waypoint: the address alone",
            WITH_WEB,
            {},
            {VIP: MOVED},
            {WEB: (A, B)},
            [Put(VIP, MOVED)],
        ),
        (
            "half a set, as no process of ours leaves it: written anew",
            WITH_WEB | {"endpoints": {EndpointKey(4, 1): B}},
            {},
            {VIP: THERE},
            {WEB: (A, B)},
            [
                Put(EndpointKey(5, 0), A),
                Put(EndpointKey(5, 1), B),
                Put(WEB, Port(5, 2)),
                Delete(EndpointKey(4, 1)),
            ],
        ),
        (
            "a pod learns its waypoint before any address names it",
            WITH_WEB | {"pods": {1: Pod(11, 0)}},
            {1: Pod(11, 9)},
            {VIP: MOVED},
            {WEB: (A, B)},
            [Put(1, Pod(11, 9)), Put(VIP, MOVED)],
        ),
        (
            "and forgets it when no address does any more",
            WITH_WEB | {"addresses": {VIP: MOVED}, "pods": {1: Pod(11, 9), 2: Pod(12, 0)}},
            {1: Pod(11, 0)},
            {VIP: THERE},
            {WEB: (A, B)},
            [Put(VIP, THERE), Put(1, Pod(11, 0)), Delete(2)],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_operations(
    what: str,
    now: dict[str, object],
    pods: dict[int, Pod],
    addresses: dict[AddressKey, Address],
    sets: dict[PortKey, EndpointSet],
    expected: list[Operation],
) -> None:
    result = reconcile(programmed(**now), pods, addresses, sets, ALL)
    assert [op for group in result for op in group.operations] == expected, what


def test_keys_outside_of_the_scope_are_left_alone() -> None:
    assert (
        list(reconcile(programmed(**WITH_WEB, pods={1: Pod(1, 0)}), {}, {}, {}, Scope())) == []
    )


def test_a_pod_that_leaves_or_changes_meanwhile_is_not_written_as_it_was() -> None:
    now = programmed(pods={3: Pod(13, 9)})
    pods = {1: Pod(11, 0), 2: Pod(12, 0), 3: Pod(13, 0)}
    work = reconcile(now, pods, {VIP: THERE}, {}, Scope({1, 2, 3}, {VIP}))
    assert next(work) is PAUSE
    assert next(work) == Group(1, (Put(1, Pod(11, 0)),))
    del pods[2]
    assert next(work) == Group(VIP, (Put(VIP, THERE),))
    del pods[3]
    assert list(work) == [Group(3, (Delete(3),))]


def test_a_long_comparison_gives_way() -> None:
    keys = {AddressKey(number.to_bytes(16, "big")) for number in range(1000)}
    pauses = list(reconcile(programmed(), {}, {}, {}, Scope(addresses=keys)))
    assert pauses == [PAUSE] * 4


def test_generations_go_on_after_the_highest_and_wrap_around_those_in_use() -> None:
    full = {EndpointKey(MAX_GENERATION, 0): A, EndpointKey(1, 0): B}
    now = programmed(
        ports={WEB: Port(MAX_GENERATION, 1), port_key("db", 1): Port(1, 1)}, endpoints=full
    )
    sets = {WEB: (B,), port_key("web", 81): (C,)}
    scope = Scope(ports=set(sets))
    puts = [g.operations[0] for g in reconcile(now, {}, {}, sets, scope) if g.operations]
    assert puts == [Put(EndpointKey(2, 0), B), Put(EndpointKey(3, 0), C)]


def test_leftovers_of_a_process_that_ended_in_between() -> None:
    now = programmed(
        ports={WEB: Port(4, 1), port_key("web", 81): EMPTY},
        endpoints={EndpointKey(4, 0): A, EndpointKey(4, 1): B, EndpointKey(6, 0): C},
    )
    assert list(leftovers(now)) == [
        Group(None, (Delete(EndpointKey(4, 1)),)),
        Group(None, (Delete(EndpointKey(6, 0)),)),
    ]


def test_undo_takes_back_new_endpoints_last_first() -> None:
    done = (Put(EndpointKey(5, 0), A), Put(EndpointKey(5, 1), B))
    assert undo(done) == (Delete(EndpointKey(5, 1)), Delete(EndpointKey(5, 0)))


def test_a_value_of_another_map_is_a_mistake() -> None:
    with pytest.raises(TypeError):
        Programmed().record(Put(VIP, A))


@pytest.mark.parametrize("seed", range(60))
def test_deltas_lead_where_programming_from_scratch_does(seed: int) -> None:
    """And after each single operation, every record leads to a whole set."""
    mesh = RandomMesh(seed)
    chance = random.Random(seed)
    maps = Maps.memory()
    programmer = Programmer(maps, dump(maps))
    desired = Desired(mesh.state, "", {})
    enrolled: dict[int, str] = {}
    for _ in range(25):
        scope = Scope()
        changes = mesh.state.apply(*mesh.delta())
        for key in changes.services:
            desired.service_changed(key, scope)
        for uid in changes.workloads:
            desired.workload_changed(uid, scope)
        desired.settle(scope)
        cookie = chance.randrange(1, 6)
        if chance.random() < 0.5:
            enrolled[cookie] = uid_of(f"w{chance.randrange(12)}")
            desired.enroll(cookie, enrolled[cookie], scope)
        elif enrolled.pop(cookie, None):
            desired.dismiss(cookie, scope)
        for group in groups(programmer.programmed, desired, scope):
            for _ in programmer.steps(group):
                sets_in(maps)
        if chance.random() < 0.2:
            programmer = Programmer(maps, dump(maps))

        scratch = Maps.memory()
        fresh = Programmer(scratch, dump(scratch))
        anew = desired_of(mesh.state, enrolled)
        for group in groups(fresh.programmed, anew):
            fresh.apply(group)
        assert dict(maps.addresses.items()) == dict(scratch.addresses.items())
        assert dict(maps.pods.items()) == dict(scratch.pods.items())
        assert sets_in(maps) == sets_in(scratch) == anew.sets
        assert dump(maps).endpoints == programmer.programmed.endpoints
        assert list(leftovers(programmer.programmed)) == []


def test_the_random_mesh_meets_what_it_is_for() -> None:
    """Waypoints by name and address, shared addresses, both families, empty sets."""
    seen: set[tuple[object, ...]] = set()
    for seed in range(20):
        mesh = RandomMesh(seed)
        for _ in range(25):
            mesh.state.apply(*mesh.delta())
        desired = desired_of(mesh.state)
        seen |= {("waypoint", key.port == 0) for key in desired.sets if desired.sets[key]}
        seen |= {("family", key.family) for key in desired.sets}
        seen |= {("empty", not content) for content in desired.sets.values()}
        seen |= {("kind", a.kind, a.waypoint != 0) for a in desired.addresses.values()}
        seen |= {
            ("shared", len(names) > 1)
            for names in mesh.state.service_addresses.claimants.values()
        }
    assert len(seen) == 12, seen
