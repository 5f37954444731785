"""The plain ClusterIP balancer as an nftables ruleset: text from values.

A small stand-in for kube-proxy, for pods that are not enrolled and for the
machine itself. One table per node, replaced as a whole in one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from deploy.standalone.config import ENTRY_CIDR4, ENTRY_CIDR6, MeshConfig
from deploy.standalone.runner.spec import ServicePortView, ServiceView

TABLE = "inet tandem"


@dataclass(frozen=True, slots=True)
class Target:
    """A port of a VIP, and the endpoints (address, port) that are ready for it."""

    vip: str
    protocol: str
    port: int
    endpoints: tuple[tuple[str, int], ...]

    @property
    def chain(self) -> str:
        """The name of its chain: what an operator sees in `nft list ruleset`."""
        plain = self.vip.replace(".", "_").replace(":", "_")
        return f"vip-{plain}-{self.protocol}-{self.port}"


def targets(services: Iterable[ServiceView]) -> Iterator[Target]:
    """Every port of every VIP that has a ready endpoint of the VIP's family.

    Hosts of ServiceEntries may share an address: the first of them has it.
    """
    seen: set[tuple[str, str, int]] = set()
    for service in services:
        for vip in service.vips:
            for port in service.ports:
                key = (vip, port.protocol.lower(), port.port)
                endpoints = tuple(ready_endpoints(service, port, ":" in vip))
                if endpoints and key not in seen:
                    seen.add(key)
                    yield Target(*key, endpoints)


def ready_endpoints(
    service: ServiceView, port: ServicePortView, ipv6: bool
) -> Iterator[tuple[str, int]]:
    """Address and target port of each ready endpoint, in the order of the addresses."""
    for endpoint in sorted(service.endpoints, key=lambda e: e.ips):
        target = endpoint.ports.get(port.port)
        if not endpoint.ready or not target:
            continue
        for address in endpoint.ips:
            if (":" in address) == ipv6:
                yield address, target


def render(config: MeshConfig, node: str, services: Iterable[ServiceView]) -> str:
    """The ruleset of a node, as input for `nft -f`."""
    found = sorted(targets(services), key=lambda t: (t.vip, t.protocol, t.port))
    of4 = [target for target in found if ":" not in target.vip]
    of6 = [target for target in found if ":" in target.vip]
    return "\n".join(
        [
            f"table {TABLE}",
            f"delete table {TABLE}",
            f"table {TABLE} {{",
            *(line for target in found for line in balance(target)),
            *dispatch("vips4", "ipv4_addr", of4),
            *dispatch("vips6", "ipv6_addr", of6),
            *itself("itself4", "ipv4_addr", of4),
            *itself("itself6", "ipv6_addr", of6),
            *hooks(config, node),
            "}",
            "",
        ]
    )


def balance(target: Target) -> list[str]:
    """A chain that sends a connection to one of the endpoints, drawn evenly."""
    family = "ip6" if ":" in target.vip else "ip"
    choices = ", ".join(
        f"{number} : {address} . {port}"
        for number, (address, port) in enumerate(target.endpoints)
    )
    draw = f"numgen random mod {len(target.endpoints)} map {{ {choices} }}"
    return [
        f"chain {target.chain} {{",
        f"meta l4proto {target.protocol} dnat {family} to {draw}",
        "}",
    ]


def dispatch(name: str, family: str, found: list[Target]) -> list[str]:
    """A map from address, protocol and port to the chain that balances it."""
    elements = [f"{t.vip} . {t.protocol} . {t.port} : goto {t.chain}" for t in found]
    kind = f"type {family} . inet_proto . inet_service : verdict"
    return collection("map", name, kind, elements)


def itself(name: str, family: str, found: list[Target]) -> list[str]:
    """The set of {endpoint, the same endpoint}: who may reach itself through a VIP."""
    addresses = sorted({address for target in found for address, _ in target.endpoints})
    elements = [f"{address} . {address}" for address in addresses]
    return collection("set", name, f"type {family} . {family}", elements)


def collection(what: str, name: str, kind: str, elements: list[str]) -> list[str]:
    """A map or set with its elements; nft takes no empty list of them."""
    listed = [f"elements = {{ {', '.join(elements)} }}"] if elements else []
    return [f"{what} {name} {{", kind, *listed, "}"]


def hooks(config: MeshConfig, node: str) -> list[str]:
    """Where the table hooks in: rewrite, refuse what is left, mask loops.

    What still has a service address after the rewrite has no ready endpoint, or
    is no port of ours: refused at once, so that clients needn't time out. The
    cluster DNS is the node's own address, and not refused.
    """
    node4, node6 = config.node_address4(node), config.node_address6(node)
    refuse = [
        f"ip daddr {{ {config.service_cidr4}, {ENTRY_CIDR4} }} goto refused",
        f"ip6 daddr {{ {config.service_cidr6}, {ENTRY_CIDR6} }} goto refused",
    ]
    rewrite = [
        "ip daddr . meta l4proto . th dport vmap @vips4",
        "ip6 daddr . meta l4proto . th dport vmap @vips6",
    ]
    return [
        *chain("services", "", rewrite),
        *chain(
            "refused",
            "",
            [
                "fib daddr type local accept",
                "meta l4proto tcp reject with tcp reset",
                "reject with icmpx port-unreachable",
            ],
        ),
        *chain("prerouting", "type nat hook prerouting priority -100", ["jump services"]),
        *chain("output", "type nat hook output priority -100", ["jump services"]),
        *chain("forwarded", "type filter hook forward priority 0", refuse),
        *chain("sent", "type filter hook output priority 0", refuse),
        *chain(
            "postrouting",
            "type nat hook postrouting priority 100",
            [
                f"ct status dnat ip saddr . ip daddr @itself4 snat ip to {node4}",
                f"ct status dnat ip6 saddr . ip6 daddr @itself6 snat ip6 to {node6}",
            ],
        ),
    ]


def chain(name: str, hook: str, rules: list[str]) -> list[str]:
    """A chain; hook: where it starts, or nothing for one that others jump to."""
    return [f"chain {name} {{", *([f"{hook};"] if hook else []), *rules, "}"]
