from __future__ import annotations

import random
from typing import Any

import pytest

from bpf.codecs import split
from bpf.layout import Address, EndpointKey, Pod, PodFlag, Port, PortKey
from bpf.maps import Maps
from daemon.alias import ALWAYS
from daemon.desired import Desired
from daemon.operations import PAUSE, Delete, Group, Operation, Put, undo
from daemon.program import Programmer, dump
from daemon.programmed import EMPTY, MAX_GENERATION, NO_ENDPOINT, Programmed
from daemon.reconcile import RUN, endpoint_keys, leftovers, reconcile
from daemon.scope import Content, Scope
from tests.daemon.meshes import (
    HERE,
    RandomMesh,
    at,
    cookie,
    desired_of,
    end,
    endpoints,
    ends,
    groups,
    port_key,
    sets_in,
    uid_of,
    within,
)

VIP = at("10.96.0.1")
WIDE = within("10.96.0.0/16", "app")
WEB = port_key("web", 80)
A, B, C = (end(f"10.0.0.{n}", 8080, "a") for n in (1, 2, 3))
THERE = Address(name=7, waypoint=0, kind=1).pack()
MOVED = Address(name=7, waypoint=9, kind=1).pack()


def record(generation: int, count: int) -> bytes:
    return Port(generation, count).pack()


def pod(workload: int, waypoint: int = 0, flags: int = 0) -> bytes:
    return Pod(workload, waypoint, flags=flags).pack()


def programmed(**tables: Any) -> Programmed:
    """Also of endpoints by (generation, index)."""
    endpoints = tables.pop("endpoints", {})
    # What is recorded must not change a table of the test's.
    made = Programmed(**{name: dict(table) for name, table in tables.items()})
    made.read_endpoints((EndpointKey(*key).pack(), e) for key, e in endpoints.items())
    return made


def members(generation: int, first: int, last: int) -> bytes:
    return endpoint_keys(generation, first, last)


WITH_WEB: dict[str, Any] = {
    "addresses": {VIP: THERE},
    "ports": {WEB: record(4, 2)},
    "endpoints": {(4, 0): A.pack(), (4, 1): B.pack()},
}
ALL = Scope(
    pods={cookie(1), cookie(2)},
    members={cookie(1)},
    addresses={VIP},
    ranges={WIDE},
    ports={WEB},
)


@pytest.mark.parametrize(
    ("what", "now", "then", "expected"),
    [
        (
            "a new service: endpoints, record, address",
            {},
            {"addresses": {VIP: THERE}, "ports": {WEB: ends(A, B)}},
            [
                Put("endpoints", members(1, 0, 2), ends(A, B)),
                Put("ports", WEB, record(1, 2)),
                Put("addresses", VIP, THERE),
            ],
        ),
        (
            "the same again: nothing",
            WITH_WEB,
            {"addresses": {VIP: THERE}, "ports": {WEB: ends(A, B)}},
            [],
        ),
        (
            "another endpoint: a new generation, the old one last",
            WITH_WEB,
            {"addresses": {VIP: THERE}, "ports": {WEB: ends(A, C)}},
            [
                Put("endpoints", members(5, 0, 2), ends(A, C)),
                Put("ports", WEB, record(5, 2)),
                Delete("endpoints", members(4, 0, 2)),
            ],
        ),
        (
            "no endpoint left: an empty record, so that connections are refused",
            WITH_WEB,
            {"addresses": {VIP: THERE}, "ports": {WEB: b""}},
            [Put("ports", WEB, EMPTY), Delete("endpoints", members(4, 0, 2))],
        ),
        (
            "a service that is gone: in reverse",
            WITH_WEB | {"ranges": {WIDE: THERE}},
            {},
            [
                Delete("ranges", WIDE),
                Delete("addresses", VIP),
                Delete("ports", WEB),
                Delete("endpoints", members(4, 0, 2)),
            ],
        ),
        (
            "another waypoint: the address alone",
            WITH_WEB,
            {"addresses": {VIP: MOVED}, "ports": {WEB: ends(A, B)}},
            [Put("addresses", VIP, MOVED)],
        ),
        (
            "what a range would hide is there before it",
            WITH_WEB | {"addresses": {}},
            {
                "addresses": {VIP: THERE},
                "ranges": {WIDE: THERE},
                "ports": {WEB: ends(A, B)},
            },
            [Put("addresses", VIP, THERE), Put("ranges", WIDE, THERE)],
        ),
        (
            "half a set, as no process of ours leaves it: written anew",
            WITH_WEB | {"endpoints": {(4, 1): B.pack()}},
            {"addresses": {VIP: THERE}, "ports": {WEB: ends(A, B)}},
            [
                Put("endpoints", members(5, 0, 2), ends(A, B)),
                Put("ports", WEB, record(5, 2)),
                Delete("endpoints", members(4, 0, 2)),
            ],
        ),
        (
            "a pod learns its waypoint and where to look before any address needs it",
            WITH_WEB | {"pods": {cookie(1): pod(11)}, "members": {cookie(1): pod(12)}},
            {
                "pods": {cookie(1): pod(11, 9)},
                "members": {cookie(1): pod(12, 0, PodFlag.RANGES)},
                "addresses": {VIP: MOVED},
                "ports": {WEB: ends(A, B)},
            },
            [
                Put("pods", cookie(1), pod(11, 9)),
                Put("members", cookie(1), pod(12, 0, PodFlag.RANGES)),
                Put("addresses", VIP, MOVED),
            ],
        ),
        (
            "and forgets it when no address does any more",
            WITH_WEB
            | {
                "addresses": {VIP: MOVED},
                "pods": {cookie(1): pod(11, 9), cookie(2): pod(12)},
                "members": {cookie(1): pod(12, 0, PodFlag.RANGES)},
            },
            {
                "pods": {cookie(1): pod(11)},
                "members": {cookie(1): pod(12)},
                "addresses": {VIP: THERE},
                "ports": {WEB: ends(A, B)},
            },
            [
                Put("addresses", VIP, THERE),
                Put("pods", cookie(1), pod(11)),
                Delete("pods", cookie(2)),
                Put("members", cookie(1), pod(12)),
            ],
        ),
        (
            "a pod that gains and loses has both in between",
            {"pods": {cookie(1): pod(11, 9, PodFlag.RANGES)}},
            {"pods": {cookie(1): pod(11, 0, PodFlag.OWN_ADDRESSES)}},
            [
                Put("pods", cookie(1), pod(11, 9, PodFlag.RANGES | PodFlag.OWN_ADDRESSES)),
                Put("pods", cookie(1), pod(11, 0, PodFlag.OWN_ADDRESSES)),
            ],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_operations(
    what: str, now: dict[str, Any], then: dict[str, Any], expected: list[Operation]
) -> None:
    there = programmed(**now)
    done = []
    for group in reconcile(there, Content(**then), ALL):
        for operation in group.operations:
            there.record(operation)
            done.append(operation)
    assert done == expected, what


def test_keys_outside_of_the_scope_are_left_alone() -> None:
    now = programmed(**WITH_WEB, pods={cookie(1): pod(1)})
    assert list(reconcile(now, Content(), Scope())) == []


def test_a_pod_that_leaves_or_changes_meanwhile_is_not_written_as_it_was() -> None:
    now = programmed(pods={cookie(3): pod(13, 9)})
    pods = {cookie(1): pod(11), cookie(2): pod(12), cookie(3): pod(13)}
    desired = Content(pods=pods, addresses={VIP: THERE})
    work = reconcile(now, desired, Scope(pods=set(pods), addresses={VIP}))
    assert next(work) is PAUSE
    assert next(work) == Group(("pods", cookie(1)), (Put("pods", cookie(1), pod(11)),))
    now.pods[cookie(1)] = pod(11)
    del pods[cookie(2)]
    assert next(work) == Group(None, (Put("addresses", VIP, THERE),))
    del pods[cookie(3)]
    assert list(work) == [Group(("pods", cookie(3)), (Delete("pods", cookie(3)),))]


def test_a_long_comparison_gives_way() -> None:
    keys = {number.to_bytes(24, "big") for number in range(1000)}
    pauses = list(reconcile(programmed(), Content(), Scope(addresses=keys)))
    assert pauses == [PAUSE] * 4


def test_entries_that_are_for_themselves_come_in_runs() -> None:
    entries = {number.to_bytes(24, "big"): THERE for number in range(RUN + 3)}
    desired = Content(addresses=entries)
    work = [g for g in reconcile(programmed(), desired, desired.whole()) if g.operations]
    assert [len(g.operations[0].keys) // 24 for g in work] == [RUN, 3]
    keys = split(b"".join(g.operations[0].keys for g in work), 24)
    assert keys == sorted(entries)


def test_a_large_set_comes_in_several_operations() -> None:
    count = 2 * RUN + 1
    old, new = ends(*[A] * count), ends(*[B] * count)
    now = programmed(ports={WEB: record(1, count)})
    now.endpoints, now.last_generation = {1: old}, 1
    (group,) = (
        g for g in reconcile(now, Content(ports={WEB: new}), Scope(ports={WEB})) if g.operations
    )
    assert [(type(o).__name__, o.table, len(o.keys) // 8) for o in group.operations] == [
        ("Put", "endpoints", RUN),
        ("Put", "endpoints", RUN),
        ("Put", "endpoints", 1),
        ("Put", "ports", 2),
        ("Delete", "endpoints", 1),
        ("Delete", "endpoints", RUN),
        ("Delete", "endpoints", RUN),
    ]
    for operation in group.operations:
        now.record(operation)
        assert (now.endpoints.get(1, b"") == old) or not now.holds(WEB, old)
    assert now.endpoints == {2: new}


def test_generations_go_on_after_the_highest_and_wrap_around_those_in_use() -> None:
    full = {(MAX_GENERATION, 0): A.pack(), (1, 0): B.pack()}
    db = port_key("db", 1)
    now = programmed(ports={WEB: record(MAX_GENERATION, 1), db: record(1, 1)}, endpoints=full)
    sets = {WEB: ends(B), port_key("web", 81): ends(C)}
    work = reconcile(now, Content(ports=sets), Scope(ports=set(sets)))
    puts = [g.operations[0].keys for g in work if g.operations]
    assert puts == [members(2, 0, 1), members(3, 0, 1)]


def test_leftovers_of_a_process_that_ended_in_between() -> None:
    now = programmed(
        ports={WEB: record(4, 1), port_key("web", 81): EMPTY},
        endpoints={(4, 0): A.pack(), (4, 1): B.pack(), (6, 1): C.pack()},
    )
    assert now.endpoints[6] == NO_ENDPOINT + C.pack()
    assert list(leftovers(now)) == [
        Group(None, (Delete("endpoints", members(4, 1, 2)),)),
        Group(None, (Delete("endpoints", members(6, 0, 2)),)),
    ]


def test_undo_takes_back_new_endpoints_last_first() -> None:
    done = (
        Put("endpoints", members(5, 0, 1), A.pack()),
        Put("endpoints", members(5, 1, 2), B.pack()),
        Put("ports", WEB, record(5, 2)),
    )
    assert undo(done) == (
        Delete("endpoints", members(5, 1, 2)),
        Delete("endpoints", members(5, 0, 1)),
    )


def test_a_put_is_cut_between_entries() -> None:
    whole = Put("endpoints", members(5, 0, 3), ends(A, B, C))
    assert whole.cut(1) == (
        Put("endpoints", members(5, 0, 1), ends(A)),
        Put("endpoints", members(5, 1, 3), ends(B, C)),
    )


@pytest.mark.parametrize("seed", range(60))
def test_deltas_lead_where_programming_from_scratch_does(seed: int) -> None:
    """And after each single operation, every record leads to a whole set."""
    mesh = RandomMesh(seed)
    chance = random.Random(seed)
    maps = Maps.memory()
    programmer = Programmer(maps, dump(maps))
    desired = Desired(mesh.state, HERE, {})
    enrolled: dict[int, str] = {}
    for _ in range(25):
        scope = Scope()
        changes = mesh.state.apply(*mesh.delta())
        for key in changes.services:
            desired.service_changed(key, scope)
        for uid in changes.workloads:
            desired.workload_changed(uid, scope)
        desired.settle(scope)
        number = chance.randrange(1, 6)
        if chance.random() < 0.5:
            enrolled[number] = uid_of(f"w{chance.randrange(12)}")
            desired.enroll(number, enrolled[number], scope)
        elif enrolled.pop(number, None):
            desired.dismiss(number, scope)
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
        for table in (maps.addresses, maps.ranges, maps.pods):
            other = getattr(scratch, table.name)
            assert dict(table.packed_items()) == dict(other.packed_items())
        assert sets_in(maps) == sets_in(scratch) == anew.content.ports
        assert dump(maps).endpoints == programmer.programmed.endpoints
        assert list(leftovers(programmer.programmed)) == []


def test_the_random_mesh_meets_what_it_is_for() -> None:
    """Waypoints, shared places, ranges, own entries, both families, empty sets, weights."""
    seen: set[tuple[object, ...]] = set()
    for seed in range(20):
        mesh = RandomMesh(seed)
        for _ in range(25):
            mesh.state.apply(*mesh.delta())
        desired = desired_of(mesh.state)
        for packed, content in desired.content.ports.items():
            key = PortKey.unpack(packed)
            found = endpoints(content)
            seen |= {("waypoint", key.port == 0), ("family", key.family)}
            seen |= {("empty", not found)}
            seen |= {("weighted", any(e.keep != ALWAYS for e in found))}
        for table in (desired.content.addresses, desired.content.ranges):
            for raw in table.values():
                address = Address.unpack(raw)
                seen |= {("kind", address.kind, address.waypoint != 0)}
        for names in mesh.state.service_addresses.claimants.values():
            seen |= {("shared", isinstance(names, tuple))}
        seen |= {("own", namespace) for namespace in desired.places.flagged}
    assert len(seen) == 17, seen
