"""resolve.h: what a pod finds at an address, by namespace and by prefix."""

from __future__ import annotations

import ipaddress

import pytest

from bpf.layout import (
    Address,
    AddressFlag,
    AddressKind,
    Counter,
    FlowFlag,
    PodFlag,
    RangeBits,
    RangeKey,
)
from tests.bpf.engine import CLIENT, SERVER, WAYPOINT, Engine, packed, peer
from tests.support.netns import Netns
from ztunnel_compat.names import target_hash

MINE, OTHERS = 111, 222
BOTH = PodFlag.OWN_ADDRESSES | PodFlag.RANGES
#: The names of services that tests look for; 0: none of them.
A, B = 1001, 1002


def cidr(mesh: Engine, network: str, name: int, namespace: int = 0, flags: int = 0) -> None:
    """Make a CIDR a service's."""
    net = ipaddress.ip_network(network)
    bits = net.prefixlen + (96 if net.version == 4 else 0)
    key = RangeKey(RangeBits.NAMESPACE + bits, namespace, packed(str(net.network_address)))
    mesh.maps.ranges.put(key, Address(name, 0, AddressKind.SERVICE, flags))


def found(mesh: Engine, client: Netns, server: Netns, called: str) -> int:
    """The service that a connect was made for, or 0."""
    where = server.v6 if ":" in called else server.v4
    for name in (A, B):
        mesh.port(80, [(where, 80)], name)
    with server.listen(where, 80) as listener, client.open_socket(listener.family) as s:
        s.connect((called, 80))
        flow = mesh.flow(s, (where, 80))
    assert flow is not None
    assert flow.original == packed(called)
    return next((n for n in (A, B) if flow.target == target_hash(n, 80)), 0)


@pytest.mark.parametrize("family", [4, 6])
def test_a_range_leads_to_its_service(
    mesh: Engine, client: Netns, server: Netns, family: int
) -> None:
    mesh.enroll(client, flags=PodFlag.RANGES)
    network, called = {
        4: ("10.97.0.0/24", "10.97.0.77"),
        6: ("fd00:97::/64", "fd00:97::77"),
    }[family]
    cidr(mesh, network, A)
    assert found(mesh, client, server, called) == A


def test_a_pod_without_ranges_does_not_look(mesh: Engine, client: Netns, server: Netns) -> None:
    mesh.enroll(client)
    cidr(mesh, "10.99.0.0/24", A)
    cidr(mesh, "10.99.0.0/24", B, MINE)
    mesh.vip(server.v4, B, namespace=MINE)
    assert found(mesh, client, server, server.v4) == 0


def test_the_longest_prefix_wins(mesh: Engine, client: Netns, server: Netns) -> None:
    mesh.enroll(client, flags=PodFlag.RANGES)
    cidr(mesh, "10.97.0.0/16", A)
    cidr(mesh, "10.97.1.0/24", B)
    assert found(mesh, client, server, "10.97.1.1") == B
    assert found(mesh, client, server, "10.97.2.1") == A


def test_an_exact_address_comes_before_a_range(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    mesh.enroll(client, flags=PodFlag.RANGES)
    cidr(mesh, "10.97.0.0/32", A)
    mesh.vip("10.97.0.0", B)
    assert found(mesh, client, server, "10.97.0.0") == B


def test_the_own_namespace_comes_first(mesh: Engine, client: Netns, server: Netns) -> None:
    """Even its range before an exact address of all; its exact address before that."""
    mesh.enroll(client, namespace=MINE, flags=BOTH)
    mesh.vip("10.97.0.1", A)
    cidr(mesh, "10.97.0.0/16", B, MINE)
    assert found(mesh, client, server, "10.97.0.1") == B
    mesh.vip("10.97.0.1", A, namespace=MINE)
    assert found(mesh, client, server, "10.97.0.1") == A


def test_another_namespaces_is_not_seen(mesh: Engine, client: Netns, server: Netns) -> None:
    mesh.enroll(client, namespace=MINE, flags=BOTH)
    mesh.vip(server.v4, A, namespace=OTHERS)
    cidr(mesh, "10.99.0.0/24", A, OTHERS)
    assert found(mesh, client, server, server.v4) == 0


def test_all_namespaces_come_after_the_own(mesh: Engine, client: Netns, server: Netns) -> None:
    mesh.enroll(client, namespace=MINE, flags=BOTH)
    cidr(mesh, "10.97.1.0/24", A, MINE)
    cidr(mesh, "10.97.0.0/16", B)
    assert found(mesh, client, server, "10.97.1.1") == A
    assert found(mesh, client, server, "10.97.2.1") == B


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_loopback_is_in_nobodys_range(mesh: Engine, client: Netns, address: str) -> None:
    mesh.enroll(client, namespace=MINE, flags=BOTH)
    for namespace in (0, MINE):
        cidr(mesh, "0.0.0.0/0", A, namespace)
        cidr(mesh, "::/0", A, namespace)
    with (
        client.listen(address, 80) as listener,
        client.open_socket(listener.family) as s,
        mesh.counts() as counts,
    ):
        s.connect((address, 80))
    assert counts == {}


@pytest.mark.parametrize("there", [0, SERVER])
def test_passthrough_takes_the_address_and_port_as_called(
    mesh: Engine, client: Netns, server: Netns, there: int
) -> None:
    """A port that the service doesn't list too, as ztunnel does."""
    mesh.enroll(client, namespace=MINE, flags=BOTH)
    cidr(mesh, "10.99.0.0/24", A, MINE, AddressFlag.PASSTHROUGH)
    if there:
        mesh.workload(server.v4, there)
    with server.listen(server.v4, 8080), client.open_socket() as s:
        with mesh.counts() as counts:
            s.connect((server.v4, 8080))
        flow = mesh.flow(s, (server.v4, 8080))
        assert s.getpeername() == (server.v4, 8080)
    assert flow is not None
    assert (flow.source, flow.target) == (CLIENT, target_hash(A, 8080))
    assert (flow.destination, flow.flags) == (there, FlowFlag.SERVICE)
    assert counts == {Counter.CONNECT_SERVICE: 1}


def test_passthrough_with_a_waypoint_leads_to_it(
    mesh: Engine, client: Netns, server: Netns, waypoint: Netns
) -> None:
    mesh.enroll(client)
    mesh.vip(server.v4, A, WAYPOINT, flags=AddressFlag.PASSTHROUGH)
    mesh.port(0, [(waypoint.v4, 15088)], WAYPOINT)
    with waypoint.listen(waypoint.v4, 15088) as listener, client.open_socket() as s:
        s.connect((server.v4, 8080))
        accepted, _ = listener.accept()
        with accepted:
            assert peer(accepted).target == target_hash(A, 8080)
