from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from deploy.standalone.control.auth.places import NodeAddresses, address_of, check_place
from deploy.standalone.control.auth.tokens import Claims
from deploy.standalone.control.errors import UnauthenticatedError
from tests.deploy.standalone.control.helpers import AMBIENT, Mesh, deployment

MESH = Mesh(AMBIENT, deployment("web"))
MESH.report()
NODES: NodeAddresses = {
    "node1": frozenset(map(ip_address, ("10.1.0.1", "fd00::1:1"))),
    "node2": frozenset({ip_address("10.1.0.2")}),
}
AGENT = Claims("tandem-system", "ztunnel", "node1", "u", "node1")
((NAME, STATUS),) = MESH.statuses.items()
WEB = Claims(*NAME[:1], "default", NAME[1], STATUS.uid, "node1")


def check(claims: Claims, address: str) -> None:
    check_place(claims, ip_address(address), NODES, MESH.view, MESH.statuses)


def test_an_agent_calls_from_its_node() -> None:
    for address in ("10.1.0.1", "fd00::1:1"):
        check(AGENT, address)


def test_a_pod_calls_from_its_own_addresses() -> None:
    for address in STATUS.ips:
        check(WEB, str(address))


@pytest.mark.parametrize(
    ("claims", "address", "reason"),
    [
        (AGENT, "10.1.0.2", "good at node node1 alone, and 10.1.0.2 is no address of that"),
        (AGENT, str(STATUS.ips[0]), "good at node node1 alone"),
        (replace(AGENT, node="node3"), "10.1.0.1", "no node 'node3'"),
        (WEB, "10.1.0.1", f"good at pod shop/{NAME[1]} alone"),
        (WEB, "10.244.1.99", f"good at pod shop/{NAME[1]} alone"),
        (replace(WEB, pod="gone"), str(STATUS.ips[0]), "no pod shop/gone"),
        (replace(WEB, pod_uid="before"), str(STATUS.ips[0]), "of uid before"),
        (replace(WEB, node="node2"), str(STATUS.ips[0]), "is not default on node2"),
        (replace(WEB, service_account="x"), str(STATUS.ips[0]), "is not x on node1"),
    ],
)
def test_elsewhere_it_is_no_proof(claims: Claims, address: str, reason: str) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        check(claims, address)
    assert reason in str(caught.value)


def test_a_pod_without_addresses_has_no_place() -> None:
    for statuses in ({}, {NAME: replace(STATUS, uid="before")}):
        with pytest.raises(UnauthenticatedError, match="is no address of that"):
            check_place(WEB, STATUS.ips[0], NODES, MESH.view, statuses)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.0.0.1:5", "10.0.0.1"),
        ("ipv6:%5Bfd00::1%5D:5", "fd00::1"),
        ("ipv6:[fd00::1]:5", "fd00::1"),
        ("ipv6:%5B::ffff:10.0.0.1%5D:5", "10.0.0.1"),
    ],
)
def test_peers(peer: str, address: str) -> None:
    assert address_of(peer) == ip_address(address)


@pytest.mark.parametrize("peer", ["", "unix:/run/x", "unix:", "ipv4:somewhere:5"])
def test_a_peer_without_an_address(peer: str) -> None:
    with pytest.raises(UnauthenticatedError, match="has no IP address"):
        address_of(peer)
