"""Which node has a process that is no pod's, and whether it is reached by HBONE there."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from deploy.standalone.control.enrolled import Enrolled
from proto import workload_pb2 as pb
from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    SETTINGS,
    Mesh,
    entry,
    workload_entry,
)

VM = "Kubernetes/networking.istio.io/WorkloadEntry/shop/vm"
NODE1, NODE2 = (frozenset({ip_address(text)}) for text in ("10.0.0.1", "10.0.0.2"))
PLACES = replace(SETTINGS, members={"node1": NODE1, "node2": NODE2})


def test_a_node_has_who_has_its_addresses() -> None:
    enrolled = Enrolled(PLACES.members, {"node2": frozenset({VM})})
    assert enrolled.node_of(NODE1) == "node1"
    assert enrolled.node_of(NODE1 | NODE2) == ""
    assert enrolled.node_of([ip_address("10.0.0.9")]) == ""
    assert enrolled.node_of([]) == ""
    assert enrolled.serves("node2", VM)
    assert not enrolled.serves("node1", VM)
    assert not enrolled.serves("", VM)


@pytest.mark.parametrize(
    ("served", "address", "node"),
    [
        ({"node1": {VM}}, "10.0.0.1", "node1"),
        ({"node2": {VM}}, "10.0.0.1", ""),  # another node can't have it
        ({"node1": {VM}}, "10.0.0.9", ""),  # nobody's address
        ({"node1": {f"{VM}x"}}, "10.0.0.1", ""),
        ({}, "10.0.0.1", ""),
    ],
)
def test_only_its_own_node_can_say_that_it_takes_hbone(
    served: dict[str, set[str]], address: str, node: str
) -> None:
    mesh = Mesh(AMBIENT, workload_entry(f"{{address: {address}}}"), settings=PLACES)
    mesh.carried = replace(
        mesh.carried, members={name: frozenset(uids) for name, uids in served.items()}
    )
    mesh.derive()
    found = mesh.address(VM).workload
    assert found.node == node
    assert found.tunnel_protocol == (pb.HBONE if node else pb.TunnelProtocol.NONE)
    assert mesh.carried.members == {n: frozenset(uids) for n, uids in served.items()}


def test_an_endpoint_of_a_service_entry_is_on_no_node() -> None:
    spec = "hosts: [a.example]\nresolution: STATIC\nports: [{number: 80, name: http}]\n"
    mesh = Mesh(AMBIENT, entry(spec + "endpoints: [{address: 10.0.0.1}]"), settings=PLACES)
    (view,) = mesh.view.outsides.values()
    assert (view.node, view.served) == ("", False)
