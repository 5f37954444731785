"""A pod's network: a netns with one routed interface, as Calico makes it.

The pod has a single address per family and sends everything to 169.254.1.1 or
fe80::1, which every node-side interface has; the node has one route per pod.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute

from deploy.standalone.config import MeshConfig, pod_digest
from deploy.standalone.runner import links, netns

GATEWAY4 = "169.254.1.1"
GATEWAY6 = "fe80::1"
INTERFACE = "eth0"
#: How the node's ends of pods' interfaces begin.
POD_INTERFACE = "pod"
#: The node's interface to the fabric.
UPLINK = "eth0"


@dataclass(frozen=True, slots=True)
class Wire:
    """Where a pod is plugged in."""

    netns: str
    netns_record: Path
    node_netns: str
    interface: str
    address4: str
    address6: str
    node4: str
    node6: str


def plan_wire(
    config: MeshConfig, node: str, namespace: str, pod: str, addresses: tuple[str, str]
) -> Wire:
    """How a pod with these addresses (IPv4, IPv6) is plugged into its node."""
    return Wire(
        netns=config.pod_netns(node, namespace, pod),
        netns_record=config.netns_record,
        node_netns=config.node_netns(node),
        interface=f"{POD_INTERFACE}{pod_digest(namespace, pod)}",
        address4=addresses[0],
        address6=addresses[1],
        node4=str(config.node_address4(node)),
        node6=str(config.node_address6(node)),
    )


def make_pod_side(wire: Wire) -> None:
    """Make the pod's netns and its interface; the other end appears in the node's."""
    with netns.created(wire.netns, wire.netns_record), links.explained(f"making {wire.netns}"):
        links.quiet_interfaces()
        with IPRoute() as ip:
            links.up(ip, links.LOOPBACK)
            peer = {"ifname": wire.interface, "net_ns_fd": str(netns.path(wire.node_netns))}
            ip.link("add", ifname=INTERFACE, kind="veth", peer=peer)
            link = links.index(ip, INTERFACE)
            links.up(ip, link)
            links.add_address(ip, link, wire.address4, 32)
            links.add_address(ip, link, wire.address6, 128)
            links.add_route(ip, "default", link, via=GATEWAY4)
            links.add_route(ip, "default", link, via=GATEWAY6)


def make_node_side(ip: IPRoute, wire: Wire) -> None:
    """Address the node's end and route the pod; ip: made in the node's netns."""
    with links.explained(f"routing {wire.netns}"):
        link = links.index(ip, wire.interface)
        links.up(ip, link)
        links.add_address(ip, link, GATEWAY4, 32, scope=links.SCOPE_LINK)
        links.add_address(ip, link, GATEWAY6, 64)
        links.add_route(ip, f"{wire.address4}/32", link, source=wire.node4)
        links.add_route(ip, f"{wire.address6}/128", link, source=wire.node6)


def remove_pod(wire: Wire) -> None:
    """Remove the pod's netns, and with it both ends of its interface and its routes."""
    netns.delete(wire.netns, wire.netns_record)
