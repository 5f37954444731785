"""Hosts of ServiceEntries: each is a service, with virtual addresses of its own.

What has none is given some, as istiod does: in ranges that nobody routes, the
same on every run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from xxhash import xxh64_intdigest

from deploy.standalone.config import ENTRY_CIDR4, ENTRY_CIDR6
from deploy.standalone.control.istioapi import Resolution, ServiceEntry
from deploy.standalone.control.objects import IpAddress, IpNetwork, Visibility
from deploy.standalone.control.problems import Problem
from deploy.standalone.control.world import Name, World

VIP_RANGES: tuple[IpNetwork, ...] = (ENTRY_CIDR4, ENTRY_CIDR6)
WILDCARD = "*."


@dataclass(frozen=True, slots=True)
class Host:
    """A host of a ServiceEntry. canonical: it stands for the name in the whole mesh."""

    entry: ServiceEntry
    hostname: str
    canonical: bool = False

    @property
    def key(self) -> Name:
        """Namespace and hostname, which name a service in the stream."""
        return (self.entry.namespace, self.hostname)

    @property
    def allocates(self) -> bool:
        """Whether the control plane gives it addresses: Istio's rule."""
        entry = self.entry
        return (
            entry.auto_allocate
            and not entry.addresses
            and entry.resolution is not Resolution.NONE
            and not self.hostname.startswith(WILDCARD)
        )


@dataclass(frozen=True, slots=True)
class Hosts:
    """All hosts, and those of each ServiceEntry."""

    by_key: Mapping[Name, Host]
    of_entry: Mapping[Name, tuple[Host, ...]]
    problems: tuple[Problem, ...]


def find_hosts(world: World) -> Hosts:
    """Each namespace's hosts; a Service of the same name goes before.

    istiod lets the oldest ServiceEntry win; files don't tell, so it is the first
    by name.
    """
    services = {(s.namespace, s.hostname) for s in world.services.values()}
    taken = {hostname for _, hostname in services}
    found: dict[Name, Host] = {}
    of_entry: dict[Name, tuple[Host, ...]] = {}
    problems = []
    for name, entry in sorted(world.entries.items()):
        hosts = []
        for hostname in entry.hosts:
            key = (entry.namespace, hostname)
            if entry.visibility is Visibility.NONE:
                continue
            if key in services or key in found:
                holder = (
                    f"ServiceEntry {found[key].entry.name}" if key in found else "a Service"
                )
                problems.append(
                    entry.origin.error("spec.hosts", f"{hostname} is {holder}'s already")
                )
                continue
            canonical = hostname not in taken and entry.visibility is Visibility.PUBLIC
            if canonical:
                taken.add(hostname)
            found[key] = Host(entry, hostname, canonical)
            hosts.append(found[key])
        of_entry[name] = tuple(hosts)
    return Hosts(found, of_entry, tuple(problems))


def allocate_hosts(
    hosts: Iterable[Host], before: Mapping[Name, tuple[IpAddress, ...]]
) -> dict[Name, tuple[IpAddress, ...]]:
    """Addresses for the hosts that are given some; what a host had, it keeps."""
    wanting = sorted(host.key for host in hosts if host.allocates)
    given = {key: before[key] for key in wanting if key in before}
    taken = {address for addresses in given.values() for address in addresses}
    for key in wanting:
        if key not in given:
            given[key] = tuple(find(key, network, taken) for network in VIP_RANGES)
            taken.update(given[key])
    return given


def find(key: Name, network: IpNetwork, taken: set[IpAddress]) -> IpAddress:
    """A free address: the hash of the host's name, then the next ones.

    There are more addresses than a mesh has objects, so one is always found.
    """
    count = network.num_addresses - 2
    start = xxh64_intdigest(f"{key[0]}/{key[1]}".encode())
    for step in range(count):
        address = network[1 + (start + step) % count]
        if address not in taken:
            return address
    raise ValueError(f"no address is left in {network}")
