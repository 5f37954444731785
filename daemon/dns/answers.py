"""A name's addresses, as the mesh's state has them.

The rules are ztunnel's (src/dns/server.rs: find_server, get_addresses). Two are
stricter here, since an address that can't be used helps nobody: an endpoint of
a headless service counts only where it is healthy (unless the service wants all)
and in the asker's network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from daemon.dns.names import Alias, aliases, with_wildcards
from ztunnel_compat.model import HealthPolicy, Service, Workload, WorkloadStatus
from ztunnel_compat.state import Changes, WorkloadState


@dataclass(frozen=True, slots=True)
class Asker:
    """What decides what a pod sees."""

    namespace: str
    network: str


@dataclass(frozen=True, slots=True)
class Found:
    """The name exists; addresses of the family that was asked for, packed.

    kept: the name is an alias for its own first labels, this many of them; 0
    when it isn't.
    """

    addresses: tuple[bytes, ...] = ()
    kept: int = 0


class Answers:
    """Answers from a state; domain: the cluster's."""

    def __init__(self, state: WorkloadState, domain: str) -> None:
        self.state = state
        self.domain = domain
        # DNS doesn't tell case apart, the state does: hostnames that aren't all
        # lower case (Istio allows them in a ServiceEntry), by their lower case.
        self.mixed_case: dict[str, set[str]] = {}

    def changed(self, changes: Changes) -> None:
        """Take note of services that came or went."""
        for key in changes.services:
            hostname = key.partition("/")[2]
            lower = hostname.lower()
            if lower == hostname:
                continue
            if self.state.services_on_host(hostname):
                self.mixed_case.setdefault(lower, set()).add(hostname)
            elif lower in self.mixed_case:
                self.mixed_case[lower].discard(hostname)
                if not self.mixed_case[lower]:
                    del self.mixed_case[lower]

    def find(self, name: str, size: int, asker: Asker) -> Found | None:
        """Look a name up; None: the mesh doesn't know it.

        name: lower case, without the final dot; size: bytes of the addresses.
        """
        for alias in aliases(name, asker.namespace, self.domain):
            for searched in with_wildcards(alias.name):
                service = self.service(searched, asker)
                if service is not None:
                    addresses = self.addresses(service, size, asker)
                    return found(addresses, alias, wildcard=searched.startswith("*."))
            pods = list(self.pods_called(alias.name, asker))
            if pods:
                return found(first_addresses(pods, size), alias)
        return None

    def service(self, hostname: str, asker: Asker) -> Service | None:
        """The service that this hostname means for a pod, or None.

        Its own namespace's goes first, then a canonical one; else the choice is at
        least the same on every node.
        """
        candidates = [
            service
            for spelled in (hostname, *self.mixed_case.get(hostname, ()))
            for service in self.state.services_on_host(spelled)
            if visible(service, asker) and (has_vip(service) or self.headless(service))
        ]
        if not candidates:
            return None
        return min(
            candidates, key=lambda s: (s.namespace != asker.namespace, not s.canonical, s.key)
        )

    def headless(self, service: Service) -> bool:
        """Whether it is Kubernetes' kind of service without a VIP.

        A ServiceEntry without one is not: its addresses are somebody else's to tell.
        """
        in_cluster = service.hostname.lower().endswith(f".svc.{self.domain}")
        return in_cluster and not service.addresses

    def addresses(self, service: Service, size: int, asker: Asker) -> tuple[bytes, ...]:
        """A service's VIPs in the asker's network, or its endpoints' addresses."""
        if self.headless(service):
            return first_addresses(self.endpoints(service, asker), size)
        return tuple(
            dict.fromkeys(
                vip.address
                for vip in service.addresses
                if len(vip.address) == size and single(vip.length, size)
                if vip.network == asker.network
            )
        )

    def endpoints(self, service: Service, asker: Asker) -> Iterator[Workload]:
        """The endpoints of a headless service that can be used."""
        any_health = service.load_balancing.health_policy is HealthPolicy.ALLOW_ALL
        for workload in self.state.endpoints(service.key).values():
            if workload.network == asker.network and (
                any_health or workload.status is WorkloadStatus.HEALTHY
            ):
                yield workload

    def pods_called(self, name: str, asker: Asker) -> Iterator[Workload]:
        """Endpoints of a headless service that have names of their own (`db-0.db…`)."""
        label, _, parent = name.partition(".")
        if not parent.endswith(f".svc.{self.domain}"):
            return
        service = self.service(parent, asker)
        if service is not None and self.headless(service):
            for workload in self.endpoints(service, asker):
                if workload.hostname.lower() == label:
                    yield workload


def found(addresses: tuple[bytes, ...], alias: Alias, *, wildcard: bool = False) -> Found:
    """What an alias leads to; a wildcard's name stays as it was asked."""
    return Found(addresses, 0 if wildcard else alias.kept)


def visible(service: Service, asker: Asker) -> bool:
    """Whether a pod may see a service."""
    return not service.namespace_visible_only or service.namespace == asker.namespace


def has_vip(service: Service) -> bool:
    """Whether it has an address of its own, be it in another network; a range is none."""
    return any(single(vip.length, len(vip.address)) for vip in service.addresses)


def single(length: int | None, size: int) -> bool:
    """Whether a prefix of this length leaves one address."""
    return length is None or length == size * 8


def first_addresses(workloads: Iterable[Workload], size: int) -> tuple[bytes, ...]:
    """The first address of a family that each workload has."""
    firsts = (next((a for a in w.addresses if len(a) == size), None) for w in workloads)
    return tuple(dict.fromkeys(address for address in firsts if address is not None))
