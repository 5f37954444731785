"""Cluster IPs: a Service's own wish, what it had, or an address by its name's hash.

The first addresses of a range are left to Services that ask for one, as in
Kubernetes; the cluster DNS is at the tenth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address

from xxhash import xxh64_intdigest

from deploy.standalone.control.objects import (
    Family,
    FamilyPolicy,
    IpAddress,
    IpNetwork,
    Service,
)
from deploy.standalone.control.problems import Problem

DNS_HOST = 10

ServiceName = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Ranges:
    """The address ranges of Services; one family may be missing."""

    ipv4: IPv4Network | None
    ipv6: IPv6Network | None

    def networks(self) -> dict[Family, IpNetwork]:
        """The range of each family that there is, IPv4 first: it is the default."""
        found: dict[Family, IpNetwork] = {}
        if self.ipv4:
            found[Family.IPV4] = self.ipv4
        if self.ipv6:
            found[Family.IPV6] = self.ipv6
        return found


@dataclass(frozen=True, slots=True)
class Allocations:
    """Each Service's families and cluster IPs (none when headless), in its order."""

    families: Mapping[ServiceName, tuple[Family, ...]]
    addresses: Mapping[ServiceName, tuple[IpAddress, ...]]
    problems: tuple[Problem, ...]


def allocate(
    services: Iterable[Service],
    before: Mapping[ServiceName, tuple[IpAddress, ...]],
    ranges: Ranges,
) -> Allocations:
    """Give each Service its families and addresses; what it had, it keeps.

    A Service whose wish can't be met goes on with what it had, or without.
    """
    allocator = Allocator(before, ranges)
    ordered = sorted(services, key=lambda s: (not s.cluster_ips, s.namespace, s.name))
    allocator.hold({(s.namespace, s.name) for s in ordered})
    for service in ordered:
        allocator.serve(service)
    return Allocations(allocator.families, allocator.addresses, tuple(allocator.problems))


class Allocator:
    """One round of allocation."""

    def __init__(
        self, before: Mapping[ServiceName, tuple[IpAddress, ...]], ranges: Ranges
    ) -> None:
        self.before = before
        self.networks = ranges.networks()
        self.holders: dict[IpAddress, ServiceName] = {}
        self.families: dict[ServiceName, tuple[Family, ...]] = {}
        self.addresses: dict[ServiceName, tuple[IpAddress, ...]] = {}
        self.problems: list[Problem] = []

    def hold(self, names: set[ServiceName]) -> None:
        """Keep the addresses of Services that are still there."""
        for name, addresses in self.before.items():
            if name in names:
                self.holders.update(dict.fromkeys(addresses, name))

    def serve(self, service: Service) -> None:
        """Decide one Service's families and addresses."""
        name = (service.namespace, service.name)
        families = self.choose_families(service)
        self.families[name] = families
        held = {family_of(a): a for a in self.before.get(name, ())}
        given = {family_of(a): a for a in service.cluster_ips}
        chosen: list[IpAddress] = []
        for family in families:
            if service.headless:
                continue
            wanted = given.get(family)
            if wanted is not None and self.refuse(service, wanted, name):
                wanted = None
                if held.get(family) is None:
                    continue
            address = wanted or self.kept(held.get(family), family) or self.find(name, family)
            if address is None:
                network = self.networks[family]
                self.problems.append(
                    service.origin.error("spec.clusterIP", f"no address is left in {network}")
                )
                continue
            self.holders[address] = name
            chosen.append(address)
        for address in set(held.values()) - set(chosen):
            self.holders.pop(address, None)
        self.addresses[name] = tuple(chosen)

    def choose_families(self, service: Service) -> tuple[Family, ...]:
        """Kubernetes' rule for ipFamilies and ipFamilyPolicy."""
        available = list(self.networks)
        missing = [family for family in service.families if family not in available]
        wants_two = service.family_policy in {
            FamilyPolicy.PREFER_DUAL,
            FamilyPolicy.REQUIRE_DUAL,
        }
        if missing or (
            service.family_policy is FamilyPolicy.REQUIRE_DUAL and len(available) < 2
        ):
            self.problems.append(
                service.origin.error(
                    "spec.ipFamilies", f"this mesh has Services of {', '.join(available)} only"
                )
            )
        wanted = [family for family in service.families if family in available]
        wanted += [family for family in available if family not in wanted]
        return tuple(wanted if wants_two else wanted[:1])

    def refuse(self, service: Service, wanted: IpAddress, name: ServiceName) -> bool:
        """Report an address that was asked for and can't be given."""
        network = self.networks[family_of(wanted)]
        reason = ""
        if wanted not in network:
            reason = f"is not in the Services' range {network}"
        elif wanted in reserved(network):
            reason = "is reserved"
        elif self.holders.get(wanted, name) != name:
            reason = f"is already Service {'/'.join(self.holders[wanted])}'s"
        if reason:
            self.problems.append(service.origin.error("spec.clusterIP", f"{wanted} {reason}"))
        return bool(reason)

    def kept(self, address: IpAddress | None, family: Family) -> IpAddress | None:
        """The address that a Service had, if it may still have it."""
        return address if address is not None and address in self.networks[family] else None

    def find(self, name: ServiceName, family: Family) -> IpAddress | None:
        """A free address: the hash of the Service's name, then the next ones."""
        network = self.networks[family]
        first = band(network)
        count = network.num_addresses - first - 1
        start = xxh64_intdigest(f"{name[0]}/{name[1]}/{family}".encode())
        taken = reserved(network)
        for step in range(min(count, len(self.holders) + len(taken) + 1)):
            address = network[first + (start + step) % count]
            if address not in self.holders and address not in taken:
                return address
        return None


def band(network: IpNetwork) -> int:
    """How many addresses are left to those who ask: Kubernetes' formula."""
    return min(max(16, network.num_addresses // 16), 256)


def reserved(network: IpNetwork) -> set[IpAddress]:
    """Addresses that no Service may have."""
    return {network[0], network[DNS_HOST], network[-1]}


def family_of(address: IpAddress) -> Family:
    """An address's family."""
    return Family.IPV4 if address.version == 4 else Family.IPV6


def parse_addresses(texts: Iterable[str]) -> tuple[IpAddress, ...]:
    """Addresses that were written down as text; raises ValueError."""
    return tuple(ip_address(text) for text in texts)
