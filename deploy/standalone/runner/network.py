"""The machine's side of the mesh's network: fabric, nodes, host.

    host ──veth── br0 in the fabric's netns ──veth── node's netns ──veth── pod
                   └ the control process

Pods are routed, not bridged: everything they send passes their node's IP layer,
where the balancer rewrites VIPs in both directions.
"""

from __future__ import annotations

from pyroute2 import IPRoute

from bpf.netns import in_netns
from deploy.standalone.config import CONTROL, ENTRY_CIDR4, ENTRY_CIDR6, HOST, MeshConfig
from deploy.standalone.runner import links, netns, sourcecheck
from deploy.standalone.runner.wiring import UPLINK

BRIDGE = "br0"


def port_name(node: str, config: MeshConfig) -> str:
    """The fabric's side of a node's link."""
    return f"node{config.node_index(node)}"


def make_fabric(config: MeshConfig) -> None:
    """Make the fabric's netns with its bridge and the control plane's addresses."""
    with (
        netns.created(config.fabric_netns, config.netns_record),
        links.explained("making the fabric"),
    ):
        links.quiet_interfaces()
        with IPRoute() as ip:
            links.up(ip, links.LOOPBACK)
            ip.link("add", ifname=BRIDGE, kind="bridge")
            bridge = links.index(ip, BRIDGE)
            links.up(ip, bridge)
            links.add_address(ip, bridge, str(config.fabric4(CONTROL)), 24)
            links.add_address(ip, bridge, str(config.fabric6(CONTROL)), 64)
            for node in config.nodes:  # waypoints' ADS streams come from pods
                route_to_pods(ip, config, node, bridge)


def make_node(config: MeshConfig, node: str) -> None:
    """Make a node's netns, joined to the fabric."""
    name, port = config.node_netns(node), port_name(node, config)
    address4, address6 = str(config.node_address4(node)), str(config.node_address6(node))
    with netns.created(name, config.netns_record), links.explained(f"making node {node}"):
        links.quiet_interfaces()
        be_router()
        sourcecheck.enforce()
        with IPRoute() as ip:
            links.up(ip, links.LOOPBACK)
            links.add_address(ip, links.LOOPBACK, str(config.dns_address4), 32)
            links.add_address(ip, links.LOOPBACK, str(config.dns_address6), 128)
            peer = {"ifname": port, "net_ns_fd": str(netns.path(config.fabric_netns))}
            ip.link("add", ifname=UPLINK, kind="veth", peer=peer)
            uplink = links.index(ip, UPLINK)
            links.up(ip, uplink)
            links.add_address(ip, uplink, address4, 24)
            links.add_address(ip, uplink, address6, 64)
            # So that the node's own connects to a VIP get as far as the
            # balancer; what it doesn't know is refused, and never leaves.
            for cidr4 in (config.service_cidr4, ENTRY_CIDR4):
                links.add_route(ip, str(cidr4), uplink, source=address4)
            for cidr6 in (config.service_cidr6, ENTRY_CIDR6):
                links.add_route(ip, str(cidr6), uplink, source=address6)
            for other in config.nodes:
                if other != node:
                    route_to_pods(ip, config, other, uplink)
            gateway = config.nodes[0]
            if node != gateway:
                route_to_host(ip, config, gateway, uplink)


def be_router() -> None:
    """Let the calling thread's netns forward packets."""
    links.sysctl("ipv6/conf/all/forwarding", 1)
    for scope in ("all", "default"):
        links.sysctl(f"ipv4/conf/{scope}/forwarding", 1)
        links.sysctl(f"ipv4/conf/{scope}/rp_filter", 0)  # sourcecheck, for IPv6 too
        # A VIP's packets come and go by the same interface: no detour to report.
        links.sysctl(f"ipv4/conf/{scope}/send_redirects", 0)


def route_to_pods(ip: IPRoute, config: MeshConfig, node: str, link: int) -> None:
    """Route a node's pods by way of that node."""
    via4, via6 = str(config.node_address4(node)), str(config.node_address6(node))
    links.add_route(ip, str(config.node_cidr4(node)), link, via=via4)
    links.add_route(ip, str(config.node_cidr6(node)), link, via=via6)


def route_to_host(ip: IPRoute, config: MeshConfig, gateway: str, link: int) -> None:
    """Answer the host by way of the node that balances for it.

    The host sends to VIPs by way of one node, which rewrites the destination;
    an answer that came back another way would not be rewritten back.
    """
    via4, via6 = str(config.node_address4(gateway)), str(config.node_address6(gateway))
    links.add_route(ip, f"{config.fabric4(HOST)}/32", link, via=via4)
    links.add_route(ip, f"{config.fabric6(HOST)}/128", link, via=via6)


def join_fabric(config: MeshConfig) -> None:
    """Plug nodes and host into the bridge."""
    with (
        netns.opened(config.fabric_netns) as fabric,
        in_netns(fabric),
        links.explained("joining the fabric"),
        IPRoute() as ip,
    ):
        bridge = links.index(ip, BRIDGE)
        for name in [config.host_interface, *(port_name(n, config) for n in config.nodes)]:
            port = links.index(ip, name)
            ip.link("set", index=port, master=bridge)
            links.up(ip, port)


def make_host_link(config: MeshConfig) -> None:
    """Give the machine an interface to the fabric; its routes go with it."""
    name = config.host_interface
    with links.explained(f"making {name}"), IPRoute() as ip:
        peer = {"ifname": name, "net_ns_fd": str(netns.path(config.fabric_netns))}
        ip.link("add", ifname=name, kind="veth", peer=peer)
        link = links.index(ip, name)
        # Only this interface: the machine may have IPv6 off for others.
        links.sysctl(f"ipv6/conf/{name}/disable_ipv6", 0)
        links.sysctl(f"ipv6/conf/{name}/accept_ra", 0)
        links.up(ip, link)
        links.add_address(ip, link, str(config.fabric4(HOST)), 24)
        links.add_address(ip, link, str(config.fabric6(HOST)), 64)
        for node in config.nodes:
            route_to_pods(ip, config, node, link)
        gateway = config.nodes[0]
        via4, via6 = str(config.node_address4(gateway)), str(config.node_address6(gateway))
        links.add_route(ip, str(config.service_cidr4), link, via=via4)
        links.add_route(ip, str(config.service_cidr6), link, via=via6)


def remove_host_link(config: MeshConfig) -> bool:
    """Remove the machine's interface to the fabric; False when there was none."""
    with links.explained(f"removing {config.host_interface}"), IPRoute() as ip:
        found = ip.link_lookup(ifname=config.host_interface)
        for link in found:
            ip.link("del", index=link)
        return bool(found)
