"""The mesh as last pushed, with its indexes.

A pure value store: a delta goes in, what changed comes out. Every step costs
time in the size of the delta, not of the mesh.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, ValuesView
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ztunnel_compat.claims import Claims
from ztunnel_compat.dump import plain
from ztunnel_compat.model import (
    GatewayAddress,
    NamespacedHostname,
    NetworkMode,
    Range,
    Service,
    Workload,
)
from ztunnel_compat.names import name_hash, service_key

Place = tuple[str, bytes]
NO_ENDPOINTS: Mapping[str, Workload] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Changes:
    """What a delta made different: new, changed or gone.

    workloads: uids; also of those that inherit an address from another.
    services: keys; also of those whose endpoints changed in any way, and of
    those that inherit an address. policies: keys.
    """

    workloads: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()
    policies: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.workloads or self.services or self.policies)


class WorkloadState:
    """Workloads and services, by everything they are looked up by."""

    def __init__(self) -> None:
        self.workloads_by_uid: dict[str, Workload] = {}
        self.services_by_key: dict[str, Service] = {}
        self.workload_addresses: Claims[Place] = Claims()
        self.service_addresses: Claims[Place] = Claims()
        self.service_ranges: Claims[tuple[str, Range]] = Claims()
        self.hostnames: Claims[str] = Claims()
        self.hashes: Claims[int] = Claims()
        # Kept apart from the services: endpoints may come before their service
        # and outlive its updates.
        self.members: dict[str, dict[str, Workload]] = {}

    def apply(self, updated: Iterable[Workload | Service], removed: Iterable[str]) -> Changes:
        """Take a delta in, all of it at once: first what goes, then what comes.

        removed: xDS names. A service's could look like a workload's uid, so a
        workload of that name goes first (ztunnel's rule); unknown names are fine.
        """
        workloads: set[str] = set()
        services: set[str] = set()
        for name in removed:
            if name in self.workloads_by_uid:
                self.replace_workload(name, None, workloads, services)
            elif name in self.services_by_key:
                self.replace_service(name, None, services)
        for resource in updated:
            if isinstance(resource, Workload):
                self.replace_workload(resource.uid, resource, workloads, services)
            else:
                self.replace_service(resource.key, resource, services)
        return Changes(frozenset(workloads), frozenset(services))

    def replace_workload(
        self, uid: str, new: Workload | None, workloads: set[str], services: set[str]
    ) -> None:
        """Put new in the place of what has this uid; notes down what changed."""
        old = self.workloads_by_uid.get(uid)
        if old == new:
            return
        workloads.add(uid)
        if old is not None:
            del self.workloads_by_uid[uid]
            self.hashes.drop((name_hash(uid),), uid)
            workloads |= self.workload_addresses.drop(places_of_workload(old), uid)
            for key in old.services:
                services.add(key)
                self.members[key].pop(uid)
                if not self.members[key]:
                    del self.members[key]
        if new is not None:
            self.workloads_by_uid[uid] = new
            self.hashes.add((name_hash(uid),), uid)
            self.workload_addresses.add(places_of_workload(new), uid)
            for key in new.services:
                services.add(key)
                self.members.setdefault(key, {})[uid] = new

    def replace_service(self, key: str, new: Service | None, services: set[str]) -> None:
        """Put new in the place of what has this key; endpoints stay."""
        old = self.services_by_key.get(key)
        if old == new:
            return
        services.add(key)
        if old is not None:
            del self.services_by_key[key]
            self.hostnames.drop((old.hostname,), key)
            services |= self.service_addresses.drop(places_of_service(old), key)
            services |= self.service_ranges.drop(ranges_of_service(old), key)
        if new is not None:
            self.services_by_key[key] = new
            self.hostnames.add((new.hostname,), key)
            self.service_addresses.add(places_of_service(new), key)
            self.service_ranges.add(ranges_of_service(new), key)

    def workload(self, uid: str) -> Workload | None:
        """The workload with this uid, or None."""
        return self.workloads_by_uid.get(uid)

    def workload_at(self, network: str, packed: bytes) -> Workload | None:
        """Who has this address: 4 or 16 bytes, never IPv4-mapped."""
        uid = self.workload_addresses.holder((network, packed))
        return None if uid is None else self.workloads_by_uid[uid]

    def workloads_at(self, network: str, packed: bytes) -> tuple[Workload, ...]:
        """Everybody who has this address, ``workload_at``'s last."""
        claimants = self.workload_addresses.all((network, packed))
        return tuple(self.workloads_by_uid[uid] for uid in claimants)

    def workload_by_hash(self, number: int) -> Workload | None:
        """The workload whose uid has this ``name_hash``, or None."""
        uid = self.hashes.holder(number)
        return None if uid is None else self.workloads_by_uid[uid]

    def workloads(self) -> ValuesView[Workload]:
        """All workloads; a live view, the least recently changed first."""
        return self.workloads_by_uid.values()

    def service(self, key: str) -> Service | None:
        """The service with this key, ``namespace/hostname``, or None."""
        return self.services_by_key.get(key)

    def service_at(self, network: str, packed: bytes) -> Service | None:
        """The service with this virtual address: 4 or 16 bytes, never mapped."""
        key = self.service_addresses.holder((network, packed))
        return None if key is None else self.services_by_key[key]

    def services_at(self, network: str, packed: bytes) -> tuple[Service, ...]:
        """Every service with this virtual address, the one that holds it last."""
        return tuple(
            self.services_by_key[key] for key in self.service_addresses.all((network, packed))
        )

    def services_with(self, network: str, place: Range) -> tuple[Service, ...]:
        """Every service with exactly this range, the one that holds it last."""
        return tuple(
            self.services_by_key[key] for key in self.service_ranges.all((network, place))
        )

    def services_on_host(self, hostname: str) -> tuple[Service, ...]:
        """The services of this hostname, one per namespace at most."""
        return tuple(self.services_by_key[key] for key in self.hostnames.all(hostname))

    def services(self) -> ValuesView[Service]:
        """All services; a live view, the least recently changed first."""
        return self.services_by_key.values()

    def endpoints(self, key: str) -> Mapping[str, Workload]:
        """The workloads of a service by uid, healthy or not; a live view.

        May be there before the service is.
        """
        members = self.members.get(key)
        return NO_ENDPOINTS if members is None else MappingProxyType(members)

    def resolve_waypoint(self, gateway: GatewayAddress, namespace: str) -> Service | None:
        """The service that a resource of this namespace names as its waypoint.

        None: not known (yet); what must go through it has to be refused.
        """
        destination = gateway.destination
        if isinstance(destination, NamespacedHostname):
            owner = destination.namespace or namespace
            return self.service(service_key(owner, destination.hostname))
        return self.service_at(destination.network, destination.address)

    def dump(self) -> dict[str, Any]:
        """The state as JSON-able values; fields that have their default are left out."""
        services = {
            key: {**plain(service), "endpoints": sorted(self.endpoints(key))}
            for key, service in sorted(self.services_by_key.items())
        }
        workloads = {
            uid: plain(workload) for uid, workload in sorted(self.workloads_by_uid.items())
        }
        staged = {
            key: sorted(members)
            for key, members in sorted(self.members.items())
            if key not in self.services_by_key
        }
        return {"workloads": workloads, "services": services, "stagedServices": staged}


def places_of_workload(workload: Workload) -> tuple[Place, ...]:
    """Where a workload is found; nowhere when it shares its node's address."""
    if workload.network_mode is NetworkMode.HOST_NETWORK:
        return ()
    return tuple([(workload.network, packed) for packed in dict.fromkeys(workload.addresses)])


def places_of_service(service: Service) -> tuple[Place, ...]:
    """A service's single virtual addresses."""
    places = dict.fromkeys(
        (address.network, address.address)
        for address in service.addresses
        if address.range is None
    )
    return tuple(places)


def ranges_of_service(service: Service) -> tuple[tuple[str, Range], ...]:
    """A service's ranges of virtual addresses, each with its network's name."""
    ranges = dict.fromkeys(
        (address.network, address.range)
        for address in service.addresses
        if address.range is not None
    )
    return tuple(ranges)
