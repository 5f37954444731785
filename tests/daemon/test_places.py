from __future__ import annotations

import ipaddress
import random

import pytest

from bpf.addresses import mapped
from bpf.layout import Address, AddressKey, Pod, PodFlag, RangeBits, RangeKey
from daemon.desired import Desired
from tests.daemon.meshes import (
    RandomMesh,
    addresses,
    at,
    by_name,
    desired_of,
    ip,
    key_of,
    pods,
    push,
    ranges,
    service,
    state_of,
    uid_of,
    within,
    workload,
)
from ztunnel_compat.model import Service
from ztunnel_compat.names import name_hash
from ztunnel_compat.state import WorkloadState

WEB, SHOP = name_hash(key_of("web")), name_hash(key_of("web", "shop"))


def names(desired: Desired, *keys: bytes) -> list[int]:
    found = desired.content.addresses | desired.content.ranges
    return [Address.unpack(found[key]).name for key in keys]


def test_a_range_stands_for_everyone_and_before_others_in_its_namespace() -> None:
    state = state_of(service("web", "10.97.1.2/16"))
    desired = desired_of(state, {7: uid_of("a"), 8: uid_of("b", "shop")})
    keys = [within("10.97.0.0/16"), within("10.97.0.0/16", "app")]
    assert sorted(desired.content.ranges) == sorted(keys)
    assert names(desired, *keys) == [WEB, WEB]
    push(state, desired, gone=(key_of("web"),))
    assert desired.content.ranges == {}


def test_pods_look_where_there_is_something() -> None:
    state = state_of(workload("a", "10.0.0.1"), workload("b", "10.0.0.2", namespace="shop"))
    desired = desired_of(state, {7: uid_of("a"), 8: uid_of("b", "shop")})

    def flags() -> list[int]:
        return [pods(desired.content.pods)[number].flags for number in (7, 8)]

    assert flags() == [0, 0]
    push(state, desired, service("web", "10.97.0.0/16"))
    assert flags() == [PodFlag.OWN_ADDRESSES | PodFlag.RANGES, PodFlag.RANGES]
    push(state, desired, service("web", "10.97.0.0/16", namespace_visible_only=True))
    assert flags() == [PodFlag.OWN_ADDRESSES, 0]
    push(state, desired, service("web", "10.96.0.1", namespace_visible_only=True))
    assert flags() == [PodFlag.OWN_ADDRESSES, 0]
    scope = push(state, desired, service("web", "10.96.0.1"))
    assert flags() == [0, 0]
    assert len(scope.pods) == 2


def test_what_only_a_namespace_sees() -> None:
    state = state_of(
        service("web", "10.96.0.1", "10.97.0.0/16", namespace_visible_only=True),
        workload("a", "10.96.0.1"),
    )
    desired = desired_of(state)
    own = at("10.96.0.1", "app")
    assert names(desired, own, within("10.97.0.0/16", "app")) == [WEB, WEB]
    assert list(desired.content.ranges) == [within("10.97.0.0/16", "app")]
    # Others find who is there for them.
    assert names(desired, at("10.96.0.1")) == [name_hash(uid_of("a"))]


def test_several_claims_to_one_address_and_range() -> None:
    state = state_of(
        service("web", "10.96.0.1", "10.97.0.0/16"),
        service("web", "10.96.0.1", "10.97.0.0/16", namespace="shop"),
    )
    desired = desired_of(state)
    assert names(
        desired,
        at("10.96.0.1"),
        at("10.96.0.1", "app"),
        within("10.97.0.0/16"),
        within("10.97.0.0/16", "app"),
        within("10.97.0.0/16", "shop"),
    ) == [SHOP, WEB, SHOP, WEB, SHOP]
    # The one for everyone needs no entry of its own namespace.
    assert at("10.96.0.1", "shop") not in desired.content.addresses
    push(state, desired, gone=(key_of("web", "shop"),))
    assert sorted(desired.content.addresses) == [at("10.96.0.1")]
    assert names(desired, at("10.96.0.1"), within("10.97.0.0/16")) == [WEB, WEB]


def test_a_canonical_service_goes_before_others() -> None:
    desired = desired_of(
        state_of(
            service("web", "10.96.0.1", canonical=True),
            service("web", "10.96.0.1", namespace="shop"),
        )
    )
    assert names(desired, at("10.96.0.1"), at("10.96.0.1", "shop")) == [WEB, SHOP]


def test_an_address_is_found_within_a_range_of_ones_own() -> None:
    """The range would hide it: its namespace has the address for itself."""
    other = name_hash(key_of("db", "shop"))
    state = state_of(
        service("web", "10.96.0.0/16"),
        service("db", "10.96.0.1", namespace="shop"),
        service("far", "10.98.0.1", namespace="shop"),
        workload("a", "10.96.0.2"),
    )
    desired = desired_of(state)
    assert names(desired, at("10.96.0.1"), at("10.96.0.1", "app")) == [other, other]
    assert at("10.98.0.1", "app") not in desired.content.addresses
    assert at("10.96.0.2", "app") not in desired.content.addresses
    push(state, desired, service("web", "10.97.0.0/16"))
    assert at("10.96.0.1", "app") not in desired.content.addresses
    push(state, desired, service("web", "10.96.0.0/31"))
    assert names(desired, at("10.96.0.1", "app")) == [other]


def test_a_waypoint_counts_in_every_entry() -> None:
    state = state_of(
        service("web", "10.96.0.1", "10.97.0.0/16", waypoint=by_name("gate")),
        service("web", "10.96.0.1", namespace="shop"),
    )
    desired = desired_of(state)
    gate = name_hash(key_of("gate"))
    for key in (at("10.96.0.1", "app"),):
        assert Address.unpack(desired.content.addresses[key]).waypoint == gate
    for value in ranges(desired.content.ranges).values():
        assert value.waypoint == gate


def test_a_range_with_a_waypoint_by_address_follows_it() -> None:
    state = state_of(
        service("web", "10.97.0.0/16", waypoint=by_name("gate")), service("gate", "10.96.0.9")
    )
    desired = desired_of(state)
    first = set(ranges(desired.content.ranges).values())
    push(state, desired, service("web", "10.97.0.0/16"))
    assert {a.waypoint for a in first} == {name_hash(key_of("gate"))}
    assert {a.waypoint for a in ranges(desired.content.ranges).values()} == {0}


def kernel_finds(desired: Desired, pod: Pod, text: str) -> int:
    """What the programs find at an address, in the order of their look-ups."""
    exact = addresses(desired.content.addresses)
    by_range = ranges(desired.content.ranges)
    address = mapped(ip(text))

    def longest(namespace: int) -> int:
        best = (-1, 0)
        for key, value in by_range.items():
            network = ipaddress.IPv6Network((key.address, key.prefix - RangeBits.NAMESPACE))
            if key.namespace == namespace and ipaddress.IPv6Address(address) in network:
                best = max(best, (key.prefix, value.name))
        return best[1]

    if pod.flags & PodFlag.OWN_ADDRESSES:
        if (own := exact.get(AddressKey(address, pod.namespace))) is not None:
            return own.name
        if name := longest(pod.namespace):
            return name
    if (common := exact.get(AddressKey(address))) is not None:
        return common.name
    return longest(0) if pod.flags & PodFlag.RANGES else 0


def ztunnel_finds(state: WorkloadState, namespace: str, text: str) -> set[int]:
    """get_best_by_vip, then find_address, as written there; of equals any."""
    packed = ip(text)

    def rank(service: Service, length: int) -> tuple[bool, int, bool]:
        return service.namespace == namespace, length, service.canonical

    exact, ranged = [], []
    for item in state.services():
        if item.namespace_visible_only and item.namespace != namespace:
            continue
        for virtual in item.addresses:
            network = ipaddress.ip_network((virtual.address, virtual.length or 0), strict=False)
            if virtual.length is None and virtual.address == packed:
                exact.append((rank(item, 0), item))
            elif virtual.length is not None and ipaddress.ip_address(packed) in network:
                ranged.append((rank(item, virtual.length), item))
    workload = state.workload_at("", packed)
    if not exact and workload is not None:
        return set()  # a range before a workload: see below
    for found in (exact, ranged):
        if found:
            top = max(order for order, _ in found)
            return {name_hash(item.key) for order, item in found if order == top}
    return {0}


@pytest.mark.parametrize("seed", range(40))
def test_a_pod_finds_what_ztunnel_finds(seed: int) -> None:
    """At addresses that no workload has: there a range of everyone's comes last here."""
    mesh = RandomMesh(seed)
    chance = random.Random(seed)
    desired = desired_of(mesh.state, {1: uid_of("w1"), 2: uid_of("w2", "shop")})
    for _ in range(20):
        push_delta(mesh, desired)
    for namespace in ("app", "shop"):
        push(mesh.state, desired, workload("pod", namespace=namespace))
        scope = desired.content.whole()
        desired.enroll(9, uid_of("pod", namespace), scope)
        pod = pods(desired.content.pods)[9]
        for _ in range(12):
            text = f"10.96.0.{chance.randrange(9)}"
            if chance.random() < 0.3:
                text = f"fd00::{chance.randrange(5)}"
            expected = ztunnel_finds(mesh.state, namespace, text)
            if expected:
                assert kernel_finds(desired, pod, text) in expected, (namespace, text)


def push_delta(mesh: RandomMesh, desired: Desired) -> None:
    updated, gone = mesh.delta()
    push(mesh.state, desired, *updated, gone=tuple(gone))


def test_keys_are_of_their_kind() -> None:
    assert AddressKey.unpack(at("10.0.0.1", "app")).namespace == name_hash("app")
    assert RangeKey.unpack(within("10.0.0.0/8")).prefix == RangeBits.NAMESPACE + 96 + 8
