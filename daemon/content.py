"""What one service, workload or address means to the kernel programs.

Pure functions from the mesh's values to the maps' (bpf/include/abi.h), packed as
the kernel holds them: what is compared, kept and written is the same object. What
a service's ports lead to is in ``sets``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from bpf.addresses import V4_MAPPED, mapped
from bpf.layout import (
    Address,
    AddressFlag,
    AddressKey,
    AddressKind,
    Pod,
    PodFlag,
    RangeBits,
    RangeKey,
)
from daemon.locality import Vantage
from daemon.sets import workload_flags
from ztunnel_compat.identity import Identity
from ztunnel_compat.model import (
    GatewayAddress,
    LoadBalancingMode,
    NamespacedHostname,
    NetworkMode,
    Range,
    Service,
    Workload,
    network_of,
)
from ztunnel_compat.names import name_hash, service_key

#: The namespace of entries that every pod sees.
EVERYONE: Final = 0

#: Finds a waypoint's service by a reference; the text is the referrer's namespace.
Resolver = Callable[[GatewayAddress, str], Service | None]


def virtual_addresses(service: Service, network: str) -> tuple[list[bytes], list[Range]]:
    """The service's packed addresses in this network, and its ranges."""
    addresses: list[bytes] = []
    ranges: list[Range] = []
    for virtual in service.addresses:
        if virtual.network != network:
            continue
        if virtual.range is None:
            addresses.append(virtual.address)
        else:
            ranges.append(virtual.range)
    return addresses, ranges


def pod_addresses(workload: Workload, network: str) -> Sequence[bytes]:
    """The packed addresses that are this workload's alone, in this network."""
    if workload.network != network or workload.network_mode is NetworkMode.HOST_NETWORK:
        return ()
    return workload.addresses


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


def best(services: Sequence[Service]) -> Service | None:
    """Of the services that claim one place: a canonical one, then the last to claim it."""
    return max(services, key=lambda s: (s.canonical, services.index(s)), default=None)


def service_address(service: Service, waypoint: str | None) -> bytes:
    """What stands at a virtual address of this service; waypoint: its key."""
    flags = 0
    if service.load_balancing.mode is LoadBalancingMode.PASSTHROUGH:
        flags |= AddressFlag.PASSTHROUGH.value
    if service.least_connections:
        flags |= AddressFlag.LEAST_CONNECTIONS.value
    return Address(
        name=name_hash(service.key),
        waypoint=name_hash(waypoint) if waypoint else 0,
        kind=AddressKind.SERVICE,
        flags=flags,
        affinity=service.affinity_seconds,
    ).pack()


def workload_address(workload: Workload, waypoint: str | None, vantage: Vantage) -> bytes:
    """What stands at an address of this workload; waypoint: its key."""
    return Address.FORMAT.pack(
        name_hash(workload.uid),
        name_hash(waypoint) if waypoint else 0,
        AddressKind.WORKLOAD,
        workload_flags(workload, vantage),
        0,
    )


def pod(uid: str, waypoint: int, identity: Identity | None, flags: int) -> bytes:
    """What the kernel knows of an enrolled pod; identity: None while nobody knows it."""
    return Pod(
        workload=name_hash(uid),
        waypoint=waypoint,
        identity=name_hash(str(identity)) if identity else 0,
        namespace=name_hash(identity.namespace) if identity else 0,
        flags=flags,
    ).pack()


def pod_flags(workload: Workload | None, *, own_addresses: bool, ranges: bool) -> int:
    """A pod's flags; see enum pod_flag."""
    flags = PodFlag.OWN_ADDRESSES.value if own_addresses else 0
    flags |= PodFlag.RANGES.value if ranges else 0
    return flags | PodFlag.ACCELERATE.value if workload and workload.accelerate else flags


def address_key(packed: bytes, namespace: int = EVERYONE) -> bytes:
    """Where the kernel looks an address up: a packed AddressKey."""
    return AddressKey.FORMAT.pack(mapped(packed), namespace)


def range_keys(place: Range, namespace: int = EVERYONE) -> Iterable[bytes]:
    """Where the kernel looks a range up: packed RangeKeys.

    An IPv6 range that IPv4's mapped addresses lie in must not catch them: it is
    cut into those around them.
    """
    packed, length = place
    if len(packed) == 4:
        return [range_key(mapped(packed), 96 + length, namespace)]
    if length >= 96 or network_of(V4_MAPPED + bytes(4), length) != packed:
        return [range_key(packed, length, namespace)]
    whole = ipaddress.IPv6Network((packed, length))
    pieces = whole.address_exclude(ipaddress.IPv6Network((V4_MAPPED + bytes(4), 96)))
    return [range_key(p.network_address.packed, p.prefixlen, namespace) for p in pieces]


def range_key(address: bytes, length: int, namespace: int) -> bytes:
    """A packed RangeKey; length: of the prefix of an address of 16 bytes."""
    return RangeKey(RangeBits.NAMESPACE + length, namespace, address).pack()


def address_text(key: bytes) -> str:
    """A map's address for people: v4-mapped ones as IPv4."""
    address = ipaddress.IPv6Address(key)
    return str(address.ipv4_mapped or address)
