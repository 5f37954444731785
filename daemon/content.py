"""What one service, workload or address means to the kernel programs.

Pure functions from the mesh's values to the maps' (bpf/include/abi.h). A
problem is a text for whoever runs the mesh: something that was left out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from bpf.addresses import mapped
from bpf.layout import Address, AddressKey, AddressKind, Endpoint, Family, PortKey, Transport
from ztunnel_compat.model import (
    GatewayAddress,
    HealthPolicy,
    NamespacedHostname,
    NetworkMode,
    Service,
    Workload,
    WorkloadStatus,
)
from ztunnel_compat.names import name_hash, service_key

#: A set's endpoints in ascending order, each of them once: comparable content.
EndpointSet = tuple[Endpoint, ...]

#: The port under which a waypoint's set of identity ports stands.
IDENTITY_SET: Final = 0

FAMILY_OF: Final[Mapping[int, Family]] = {4: Family.IPV4, 16: Family.IPV6}

#: Finds a waypoint's service by a reference; the text is the referrer's namespace.
Resolver = Callable[[GatewayAddress, str], Service | None]


def virtual_addresses(service: Service, network: str) -> tuple[list[bytes], list[str]]:
    """The service's packed addresses in this network, and problems."""
    found: list[bytes] = []
    problems: list[str] = []
    for virtual in service.addresses:
        if virtual.network != network:
            continue
        if virtual.length is not None and virtual.length != 8 * len(virtual.address):
            problems.append(f"address range {virtual} is not supported: left out")
            continue
        found.append(virtual.address)
    return found, problems


def pod_addresses(workload: Workload, network: str) -> list[bytes]:
    """The packed addresses that are this workload's alone, in this network."""
    if workload.network != network or workload.network_mode is NetworkMode.HOST_NETWORK:
        return []
    return list(workload.addresses)


def waypoint_key(reference: GatewayAddress, namespace: str, resolve: Resolver) -> str:
    """The key of the service that a waypoint reference from a namespace means.

    A reference that leads nowhere stands for itself: no set will be found under
    it, so the kernel refuses connections instead of going past the waypoint.
    """
    destination = reference.destination
    if isinstance(destination, NamespacedHostname):
        return service_key(destination.namespace or namespace, destination.hostname)
    service = resolve(reference, namespace)
    return str(reference) if service is None else service.key


def service_address(service: Service, waypoint: str | None) -> Address:
    """What stands at a virtual address of this service; waypoint: its key."""
    return Address(
        name=name_hash(service.key),
        waypoint=name_hash(waypoint) if waypoint else 0,
        kind=AddressKind.SERVICE,
        identity_port=0,
    )


def workload_address(workload: Workload, waypoint: str | None) -> Address:
    """What stands at an address of this workload; waypoint: its key."""
    tunnel = workload.application_tunnel
    return Address(
        name=name_hash(workload.uid),
        waypoint=name_hash(waypoint) if waypoint else 0,
        kind=AddressKind.WORKLOAD,
        identity_port=tunnel.port if tunnel else 0,
    )


def service_sets(
    service: Service, endpoints: Iterable[Workload], network: str
) -> dict[PortKey, EndpointSet]:
    """The set of each port, for each family that the service has an address of."""
    chosen = usable(service, endpoints, network)
    families = {FAMILY_OF[len(a)] for a in virtual_addresses(service, network)[0]}
    sets = {}
    for port in service.ports:
        if port.service_port == IDENTITY_SET:
            continue
        for family in families:
            key = port_key(service.key, port.service_port, family)
            sets[key] = ordered(
                (address, target)
                for workload in chosen
                if (target := workload.target_port(service, port.service_port))
                for address in workload.addresses
                if FAMILY_OF[len(address)] is family
            )
    return sets


def identity_sets(
    service: Service, endpoints: Iterable[Workload], network: str
) -> tuple[dict[PortKey, EndpointSet], list[str]]:
    """A waypoint's sets of identity ports, for both families, and problems."""
    chosen = usable(service, endpoints, network)
    problems = [
        f"endpoint {w.uid} has no application tunnel: it can't be used as a waypoint"
        for w in chosen
        if w.application_tunnel is None
    ]
    sets = {
        port_key(service.key, IDENTITY_SET, family): ordered(
            (address, workload.application_tunnel.port)
            for workload in chosen
            if workload.application_tunnel is not None
            for address in workload.addresses
            if FAMILY_OF[len(address)] is family
        )
        for family in Family
    }
    return sets, problems


def usable(service: Service, endpoints: Iterable[Workload], network: str) -> list[Workload]:
    """Endpoints that may be given connections and are reachable from this network."""
    any_health = service.load_balancing.health_policy is HealthPolicy.ALLOW_ALL
    return [
        workload
        for workload in endpoints
        if workload.network == network
        and (any_health or workload.status is WorkloadStatus.HEALTHY)
    ]


def ordered(pairs: Iterable[tuple[bytes, int]]) -> EndpointSet:
    """A set of (packed address, port) as the map holds it."""
    return tuple(Endpoint(mapped(address), port) for address, port in sorted(set(pairs)))


def port_key(service: str, port: int, family: Family) -> PortKey:
    """Where the kernel looks for the endpoints of a service's TCP port."""
    return PortKey(
        service=name_hash(service), port=port, transport=Transport.TCP, family=family
    )


def address_key(packed: bytes) -> AddressKey:
    """Where the kernel looks an address up."""
    return AddressKey(mapped(packed))


def address_text(key: bytes) -> str:
    """A map's address for people: v4-mapped ones as IPv4."""
    address = ipaddress.IPv6Address(key)
    return str(address.ipv4_mapped or address)
