from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from ztunnel_compat.model import (
    GatewayAddress,
    NamespacedHostname,
    NetworkAddress,
    NetworkMode,
    Service,
    ServicePort,
    Workload,
    WorkloadStatus,
)
from ztunnel_compat.names import name_hash
from ztunnel_compat.state import Changes, WorkloadState

A, B, C = (bytes([10, 0, 0, last]) for last in (1, 2, 3))
WEB = Service("web", "ns", "web.local", addresses=(NetworkAddress("", C),))
ENDPOINT = {WEB.key: (ServicePort(80, 8080),)}


def pod(name, *addresses, **fields):
    return Workload(f"Kubernetes//Pod/ns/{name}", name, "ns", addresses, **fields)


def changes(workloads=(), services=()):
    return Changes(frozenset(workloads), frozenset(services))


@pytest.fixture
def state():
    return WorkloadState()


def test_lookups(state):
    one = pod("one", A, services=ENDPOINT)
    assert state.apply((one, WEB), ()) == changes({one.uid}, {WEB.key})
    assert state.workload(one.uid) is one
    assert state.workload_at("", A) is one
    assert state.workload_by_hash(name_hash(one.uid)) is one
    assert state.service(WEB.key) is WEB
    assert state.service_at("", C) is WEB
    assert state.services_on_host("web.local") == (WEB,)
    assert dict(state.endpoints(WEB.key)) == {one.uid: one}
    assert list(state.workloads()) == [one]
    assert list(state.services()) == [WEB]


def test_what_is_unknown(state):
    assert state.workload("x") is None
    assert state.workload_at("", A) is None
    assert state.workload_by_hash(1) is None
    assert state.service("x") is None
    assert state.service_at("", A) is None
    assert state.services_on_host("x") == ()
    assert dict(state.endpoints("x")) == {}
    assert state.apply((), ("x",)) == changes()


def test_an_address_is_of_one_network(state):
    state.apply((pod("one", A, network="n1"),), ())
    assert state.workload_at("", A) is None
    assert state.workload_at("n1", A) is not None


def test_the_same_again_is_no_change(state):
    state.apply((pod("one", A, services=ENDPOINT), WEB), ())
    again = pod("one", A, services=dict(ENDPOINT))
    assert not state.apply((again, replace(WEB)), ())


def test_host_network_workloads_have_no_address_of_their_own(state):
    host = pod("host", A, network_mode=NetworkMode.HOST_NETWORK, services=ENDPOINT)
    state.apply((host,), ())
    assert state.workload_at("", A) is None
    assert host.uid in state.endpoints(WEB.key)
    state.apply((), (host.uid,))
    assert list(state.workloads()) == []


def test_an_update_clears_lost_addresses_and_memberships(state):
    state.apply((pod("one", A, B, services=ENDPOINT), WEB), ())
    after = pod("one", B)
    assert state.apply((after,), ()) == changes({after.uid}, {WEB.key})
    assert state.workload_at("", A) is None
    assert state.workload_at("", B) is after
    assert dict(state.endpoints(WEB.key)) == {}


def test_endpoint_data_changes_its_services(state):
    before = pod("one", A, services=ENDPOINT)
    state.apply((before, WEB), ())
    after = replace(before, status=WorkloadStatus.UNHEALTHY)
    assert state.apply((after,), ()) == changes({before.uid}, {WEB.key})
    assert state.endpoints(WEB.key)[before.uid] is after


def test_endpoints_may_come_first_and_outlive_updates_and_the_service(state):
    one = pod("one", A, services=ENDPOINT)
    assert state.apply((one,), ()) == changes({one.uid}, {WEB.key})
    assert state.service(WEB.key) is None
    assert state.dump()["stagedServices"] == {WEB.key: [one.uid]}
    for service in (WEB, replace(WEB, ports=(ServicePort(80, 8080),))):
        assert state.apply((service,), ()) == changes((), {WEB.key})
        assert dict(state.endpoints(WEB.key)) == {one.uid: one}
    assert state.apply((), (WEB.key,)) == changes((), {WEB.key})
    assert dict(state.endpoints(WEB.key)) == {one.uid: one}


def test_removal_goes_for_the_workload_first(state):
    odd = Workload(WEB.key)
    state.apply((odd, WEB), ())
    state.apply((), (WEB.key,))
    assert (state.workload(WEB.key), state.service(WEB.key)) == (None, WEB)
    state.apply((), (WEB.key,))
    assert state.service(WEB.key) is None


def test_an_update_beats_a_removal_of_the_same_delta(state):
    one = pod("one", A)
    state.apply((one,), ())
    after = pod("one", B)
    assert state.apply((after,), (one.uid,)) == changes({one.uid})
    assert state.workload(one.uid) is after
    assert state.workload_at("", A) is None


def test_an_address_taken_over_survives_its_old_owners_removal(state):
    old, new = pod("old", A), pod("new", A)
    state.apply((old,), ())
    state.apply((new,), ())
    assert state.workload_at("", A) is new
    assert state.apply((), (old.uid,)) == changes({old.uid})
    assert state.workload_at("", A) is new


def test_who_inherits_an_address_has_changed(state):
    old, new = pod("old", A), pod("new", A)
    state.apply((old, new), ())
    assert state.apply((), (new.uid,)) == changes({old.uid, new.uid})
    assert state.workload_at("", A) is old
    other = replace(WEB, namespace="other")
    state.apply((WEB, other), ())
    assert state.services_on_host("web.local") == (WEB, other)
    assert state.apply((), (other.key,)) == changes((), {WEB.key, other.key})
    assert state.service_at("", C) is WEB


def test_ranges_are_kept_but_not_found_by_address(state):
    wide = NetworkAddress("", bytes([10, 1, 0, 0]), 16)
    single = NetworkAddress("", A, 32)
    service = replace(WEB, addresses=(wide, single))
    state.apply((service,), ())
    assert state.service_at("", wide.address) is None
    assert state.service_at("", A) is service
    assert service.addresses == (wide, single)


@pytest.mark.parametrize(
    ("destination", "namespace", "found"),
    [
        (NamespacedHostname("ns", "web.local"), "other", True),
        (NamespacedHostname("", "web.local"), "ns", True),
        (NamespacedHostname("", "web.local"), "other", False),
        (NamespacedHostname("other", "web.local"), "ns", False),
        (NetworkAddress("", C), "ns", True),
        (NetworkAddress("net", C), "ns", False),
        (NetworkAddress("", A), "ns", False),
    ],
)
def test_a_waypoint_is_a_service(state, destination, namespace, found):
    state.apply((WEB, pod("one", A)), ())
    expected = WEB if found else None
    assert state.resolve_waypoint(GatewayAddress(destination), namespace) is expected


def test_dump_is_json(state):
    state.apply((pod("one", A, services=ENDPOINT), WEB), ())
    dump = json.loads(json.dumps(state.dump()))
    assert dump["services"][WEB.key]["endpoints"] == ["Kubernetes//Pod/ns/one"]
    assert dump["services"][WEB.key]["addresses"] == ["/10.0.0.3"]
    assert dump["workloads"]["Kubernetes//Pod/ns/one"]["addresses"] == ["10.0.0.1"]
    assert dump["stagedServices"] == {}


def indexes(state):
    """Every index, in full."""
    return (
        state.workload_addresses.claimants,
        state.service_addresses.claimants,
        state.hostnames.claimants,
        state.hashes.claimants,
        state.members,
    )


def random_workload(draw):
    keys = draw.sample([f"ns/s{n}.local" for n in range(4)], draw.randrange(4))
    return pod(
        f"p{draw.randrange(8)}",
        *draw.choices((A, B, C), k=draw.randrange(4)),
        network=draw.choice(("", "net")),
        network_mode=draw.choice(list(NetworkMode)),
        status=draw.choice(list(WorkloadStatus)),
        services={key: (ServicePort(80, draw.randrange(2)),) for key in keys},
    )


def random_service(draw):
    return Service(
        "s",
        draw.choice(("ns", "other")),
        f"s{draw.randrange(4)}.local",
        addresses=tuple(
            NetworkAddress("", draw.choice((A, B, C)), draw.choice((None, 32, 24)))
            for _ in range(draw.randrange(3))
        ),
    )


@pytest.mark.parametrize("seed", range(20))
def test_indexes_are_what_they_would_be_built_afresh(seed):
    draw = random.Random(seed)
    state = WorkloadState()
    for _ in range(100):
        makers = draw.choices((random_workload, random_service), k=draw.randrange(5))
        removed = draw.sample(
            [*state.workloads_by_uid, *state.services_by_key, "unknown"],
            draw.randrange(1 + min(3, len(state.workloads_by_uid))),
        )
        state.apply([make(draw) for make in makers], removed)
        fresh = WorkloadState()
        fresh.apply([*state.services(), *state.workloads()], ())
        assert indexes(state) == indexes(fresh)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_not_said_to_change_does_not(seed):
    """Who acts on changes alone ends up with the whole truth."""
    draw = random.Random(seed)
    state = WorkloadState()
    everything = [(network, packed) for network in ("", "net") for packed in (A, B, C)]
    for _ in range(100):
        holders = {place: state.workload_at(*place) for place in everything}
        vips = {place: state.service_at(*place) for place in everything}
        endpoints = {key: dict(state.endpoints(key)) for key in state.members}
        makers = draw.choices((random_workload, random_service), k=draw.randrange(4))
        removed = [w.uid for w in state.workloads() if draw.random() < 0.1]
        removed += [s.key for s in state.services() if draw.random() < 0.1]
        said = state.apply([make(draw) for make in makers], removed)
        for place in everything:
            before, after = holders[place], state.workload_at(*place)
            assert before == after or {w.uid for w in (before, after) if w} & said.workloads
            assert after is None or before == after or after.uid in said.workloads
            was, now = vips[place], state.service_at(*place)
            assert now is None or was == now or now.key in said.services
        for key in endpoints.keys() | state.members.keys():
            if endpoints.get(key, {}) != dict(state.endpoints(key)):
                assert key in said.services


def test_ranges_are_found_whole(state):
    wide = NetworkAddress("", bytes([10, 1, 2, 3]), 16)
    web = Service("web", "ns", "web.local", addresses=(wide, NetworkAddress("", C, 32)))
    other = replace(web, namespace="other")
    state.apply((web, other), ())
    place = (bytes([10, 1, 0, 0]), 16)
    assert state.services_with("", place) == (web, other)
    assert state.services_with("net", place) == ()
    assert state.services_with("", (C, 32)) == ()
    assert state.services_at("", C) == (web, other)
    assert state.apply((), (other.key,)) == changes(services={web.key, other.key})
    assert state.services_with("", place) == (web,)
    state.apply((), (web.key,))
    assert not state.service_ranges.claimants


def test_several_workloads_may_share_an_address(state):
    one, other = pod("one", A), pod("other", A, B)
    state.apply([one, other], [])
    assert state.workloads_at("", A) == (one, other)
    assert state.workloads_at("", B) == (other,)
    assert state.workloads_at("", C) == ()
    assert state.workload_at("", A) == other
