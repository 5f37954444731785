from __future__ import annotations

import ipaddress

import pytest

from bpf.addresses import mapped
from bpf.layout import Address, AddressFlag, AddressKind, Pod, PodFlag, RangeBits, RangeKey
from daemon import content
from tests.daemon.meshes import (
    HERE,
    balanced,
    by_address,
    by_name,
    hostname,
    ip,
    key_of,
    service,
    uid_of,
    virtual,
    workload,
)
from ztunnel_compat.identity import Identity
from ztunnel_compat.model import GatewayAddress, NamespacedHostname, NetworkAddress, Service
from ztunnel_compat.names import name_hash


def test_virtual_addresses_and_ranges_of_this_network() -> None:
    addresses = (
        virtual("10.96.0.1"),
        NetworkAddress("far", ip("10.96.0.2")),
        virtual("10.96.0.3/32"),
        virtual("10.97.1.2/16"),
        virtual("fd00::/8"),
        NetworkAddress("far", ip("10.98.0.0"), 16),
    )
    item = Service("web", "app", hostname("web"), addresses)
    assert content.virtual_addresses(item, "") == (
        [ip("10.96.0.1"), ip("10.96.0.3")],
        [(ip("10.97.0.0"), 16), (ip("fd00::"), 8)],
    )


def test_pod_addresses_are_the_pods_own() -> None:
    assert content.pod_addresses(workload("a", "10.0.0.1"), "") == (ip("10.0.0.1"),)
    assert content.pod_addresses(workload("a", "10.0.0.1", host_network=True), "") == ()
    assert content.pod_addresses(workload("a", "10.0.0.1", network="far"), "") == ()


def test_what_stands_at_a_services_address() -> None:
    name = name_hash(key_of("web"))
    plain = content.service_address(service("web"), None)
    assert Address.unpack(plain) == Address(name, 0, AddressKind.SERVICE)
    asks = service(
        "web",
        balancing=balanced("PASSTHROUGH"),
        affinity_seconds=10800,
        least_connections=True,
    )
    assert Address.unpack(content.service_address(asks, key_of("gate"))) == Address(
        name,
        name_hash(key_of("gate")),
        AddressKind.SERVICE,
        AddressFlag.PASSTHROUGH | AddressFlag.LEAST_CONNECTIONS,
        10800,
    )


def test_what_stands_at_a_workloads_address() -> None:
    name = name_hash(uid_of("a"))
    far = content.workload_address(workload("a", node="n2"), None, HERE)
    assert Address.unpack(far) == Address(name, 0, AddressKind.WORKLOAD)
    near = content.workload_address(
        workload("a", node="n1", accelerate=True), key_of("gate"), HERE
    )
    assert Address.unpack(near) == Address(
        name,
        name_hash(key_of("gate")),
        AddressKind.WORKLOAD,
        AddressFlag.LOCAL | AddressFlag.ACCELERATE,
    )


def test_what_is_known_of_a_pod() -> None:
    identity = Identity("example.org", "app", "sa")
    assert workload("a", trust_domain="example.org", service_account="sa").identity == identity
    assert Pod.unpack(content.pod(uid_of("a"), 7, identity, 2)) == Pod(
        name_hash(uid_of("a")), 7, name_hash(str(identity)), name_hash("app"), 2
    )
    assert Pod.unpack(content.pod(uid_of("a"), 0, None, 0)) == Pod(name_hash(uid_of("a")))


def test_flags_of_a_pod() -> None:
    none = content.pod_flags(None, own_addresses=False, ranges=False)
    assert none == content.pod_flags(workload("a"), own_addresses=False, ranges=False) == 0
    everything = PodFlag.OWN_ADDRESSES | PodFlag.RANGES | PodFlag.ACCELERATE
    quick = workload("a", accelerate=True)
    assert content.pod_flags(quick, own_addresses=True, ranges=True) == everything


def test_the_best_claim_is_canonical_or_else_the_last() -> None:
    a, b = service("a"), service("b")
    c = service("c", canonical=True)
    assert content.best([]) is None
    assert content.best([a, b]) is b
    assert content.best([c, a, b]) is c


def test_a_waypoint_reference_always_means_something() -> None:
    gate = service("gate", "10.96.0.9")

    def known(_reference: GatewayAddress, _namespace: str) -> Service:
        return gate

    def unknown(_reference: GatewayAddress, _namespace: str) -> None:
        return None

    own = GatewayAddress(NamespacedHostname("", hostname("gate")))
    assert content.waypoint_key(by_name("gate"), "other", unknown) == key_of("gate")
    assert content.waypoint_key(own, "app", unknown) == key_of("gate")
    assert content.waypoint_key(by_address("10.96.0.9"), "app", known) == key_of("gate")
    assert content.waypoint_key(by_address("10.96.0.9"), "app", unknown) == "/10.96.0.9"


def test_a_range_is_keyed_by_namespace_and_prefix() -> None:
    keys = [RangeKey.unpack(k) for k in content.range_keys((ip("10.97.0.0"), 16), 5)]
    assert keys == [RangeKey(RangeBits.NAMESPACE + 96 + 16, 5, mapped(ip("10.97.0.0")))]
    keys = [RangeKey.unpack(k) for k in content.range_keys((ip("fd00::"), 8))]
    assert keys == [RangeKey(RangeBits.NAMESPACE + 8, 0, ip("fd00::"))]


@pytest.mark.parametrize(
    ("network", "length"), [("::", 0), ("::", 64), ("::", 80), ("::fffe:0:0", 95)]
)
def test_an_ipv6_range_does_not_catch_ipv4(network: str, length: int) -> None:
    """Mapped addresses lie within it; what is left of it is whole."""
    keys = [RangeKey.unpack(k) for k in content.range_keys((ip(network), length))]
    pieces = [
        ipaddress.IPv6Network((key.address, key.prefix - RangeBits.NAMESPACE)) for key in keys
    ]
    held = sum(piece.num_addresses for piece in pieces)
    assert held == (1 << (128 - length)) - (1 << 32)
    assert not any(ipaddress.IPv6Address("::ffff:10.0.0.1") in piece for piece in pieces)


def test_address_text() -> None:
    assert content.address_text(mapped(ip("10.0.0.1"))) == "10.0.0.1"
    assert content.address_text(ip("fd00::1")) == "fd00::1"
