"""The endpoints behind each port of a service, as the kernel holds them.

Pure functions. A set is one text of bytes, `struct endpoint` end to end: what is
compared, kept and written is the same object. Building one takes microseconds per
endpoint, so generators yield now and then for who has an event loop to serve.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Final

from bpf.addresses import mapped
from bpf.layout import AddressFlag, Endpoint, Family, PortKey, TunnelPort
from daemon.alias import ALWAYS, alias_table
from daemon.locality import Vantage, near
from ztunnel_compat.model import (
    HealthPolicy,
    LoadBalancingMode,
    NetworkMode,
    Service,
    ServicePort,
    TunnelProtocol,
    Workload,
    WorkloadStatus,
)
from ztunnel_compat.names import name_hash

#: The port under which a waypoint's set of identity ports stands.
IDENTITY_SET: Final = 0
LENGTH_OF: Final = {Family.IPV4: 4, Family.IPV6: 16}
FAMILY_OF: Final = {length: family for family, length in LENGTH_OF.items()}
#: Endpoints looked at between two yields.
STEP: Final = 512

#: `struct endpoint` of each endpoint, ascending by address and port, each once.
EndpointSet = bytes
Sets = dict[bytes, EndpointSet]
Steps = Generator[None, None, Sets]
#: A workload, and the port of it that a connection goes to.
Target = tuple[Workload, int]


def takes_hbone(workload: Workload) -> bool:
    """Whether a workload is reached by HBONE from other nodes.

    One in the network of its host shares addresses with what takes none.
    """
    return (
        workload.tunnel_protocol is TunnelProtocol.HBONE
        and workload.network_mode is not NetworkMode.HOST_NETWORK
    )


def workload_flags(workload: Workload, vantage: Vantage) -> int:
    """LOCAL, ACCELERATE and TUNNEL of a workload, for its addresses and as an endpoint."""
    local = workload.node == vantage.node != ""
    flags = AddressFlag.LOCAL.value if local else 0
    if workload.accelerate:
        flags |= AddressFlag.ACCELERATE.value
    if takes_hbone(workload) and vantage.node and (not local or vantage.same_node_mtls):
        flags |= AddressFlag.TUNNEL.value
    return flags


def service_sets(
    service: Service,
    families: Iterable[Family],
    workloads: Sequence[Workload],
    vantage: Vantage,
) -> Steps:
    """The set of each port, by packed PortKey, for the families of its addresses.

    Of a PASSTHROUGH service the kernel needs to know its ports, not its endpoints.
    """
    passthrough = service.load_balancing.mode is LoadBalancingMode.PASSTHROUGH
    sets: Sets = {}
    for port in service.ports:
        if port.service_port == IDENTITY_SET:
            continue
        targets = [] if passthrough else targets_of(service, port, workloads)
        yield
        for family in families:
            key = port_key(service.key, port.service_port, family)
            sets[key] = yield from endpoint_set(service, targets, family, vantage)
    return sets


def identity_sets(service: Service, workloads: Sequence[Workload], vantage: Vantage) -> Steps:
    """A waypoint's sets of identity ports, for both families.

    A pod without one takes HBONE alone, on this node too: a stock Envoy waypoint.
    """
    targets = [target for w in workloads if (target := waypoint_target(w))]
    sets: Sets = {}
    for family in Family:
        key = port_key(service.key, IDENTITY_SET, family)
        sets[key] = yield from endpoint_set(service, targets, family, vantage, waypoint_flags)
    return sets


def waypoint_target(workload: Workload) -> Target | None:
    """Where a waypoint's pod is reached; None if there is no way."""
    if workload.application_tunnel:
        return workload, workload.application_tunnel.port
    return (workload, TunnelPort.HBONE) if takes_hbone(workload) else None


def waypoint_flags(workload: Workload, vantage: Vantage) -> int:
    """``workload_flags`` of a waypoint's pod."""
    flags = workload_flags(workload, vantage)
    return flags if workload.application_tunnel else flags | AddressFlag.TUNNEL.value


def usable(service: Service, endpoints: Iterable[Workload], network: str) -> list[Workload]:
    """Endpoints that may be given connections and are reachable from this network.

    A capacity of 0 is one that is never chosen. It is left out before ranks are
    compared, so that a zone drained by it fails over.
    """
    any_health = service.load_balancing.health_policy is HealthPolicy.ALLOW_ALL
    return [
        workload
        for workload in endpoints
        if workload.network == network
        and (any_health or workload.status is WorkloadStatus.HEALTHY)
        and workload.capacity
    ]


def left_out(endpoints: Sequence[Workload], network: str) -> list[str]:
    """What nobody here can connect to, for who runs the mesh."""
    problems = []
    far = [w.network for w in endpoints if w.network != network]
    if far:
        names = ", ".join(sorted(set(far)))
        problems.append(f"{len(far)} endpoints in other networks ({names}): left out")
    nameless = sum(1 for w in endpoints if w.network == network and not w.addresses)
    if nameless:
        problems.append(f"{nameless} endpoints without an address: left out")
    return problems


def untunnelled(workloads: Iterable[Workload]) -> list[str]:
    """Endpoints of a waypoint that can't be reached as one."""
    return [
        f"endpoint {w.uid} has no application tunnel and doesn't take HBONE: "
        "it can't be used as a waypoint"
        for w in workloads
        if waypoint_target(w) is None
    ]


def targets_of(
    service: Service, port: ServicePort, workloads: Sequence[Workload]
) -> list[Target]:
    """Where connections to a service's port may go: Workload.target_port of each."""
    key, number = service.key, port.service_port
    declared = port.target_port
    targets = []
    for workload in workloads:
        target = declared
        for own in workload.services.get(key, ()):
            if own.service_port == number and own.target_port:
                target = own.target_port
                break
        if target:
            targets.append((workload, target))
    return targets


def endpoint_set(
    service: Service,
    targets: Sequence[Target],
    family: Family,
    vantage: Vantage,
    flags_of: Callable[[Workload, Vantage], int] = workload_flags,
) -> Generator[None, None, EndpointSet]:
    """The set of one port and family; weighted when capacities differ."""
    length = LENGTH_OF[family]
    balancing = service.load_balancing
    mine = [t for t in targets if any(len(address) == length for address in t[0].addresses)]
    yield
    chosen = near(balancing, [workload for workload, _ in mine], vantage)
    yield
    found: dict[bytes, tuple[Workload, int]] = {}
    for number, (workload, port) in enumerate(mine, 1):
        if number % STEP == 0:
            yield
        if chosen is not None and workload.uid not in chosen:
            continue
        for address in dict.fromkeys(workload.addresses):
            if len(address) == length:
                place = mapped(address) + port.to_bytes(2, "big")
                found[place] = joined(found.get(place), workload)
    yield
    places = sorted(found)
    yield
    weights = [found[place][1] for place in places]
    even = len(set(weights)) <= 1
    table = [(ALWAYS, 0)] * len(weights) if even else alias_table(weights)
    yield
    pack = Endpoint.FORMAT.pack
    entries = []
    for number, (place, (keep, alias)) in enumerate(zip(places, table, strict=True), 1):
        if number % STEP == 0:
            yield
        workload = found[place][0]
        name = name_hash(workload.uid)
        flags = flags_of(workload, vantage)
        entries.append(pack(place[:16], place[16:], flags, keep, alias, name))
    return b"".join(entries)


def joined(before: tuple[Workload, int] | None, workload: Workload) -> tuple[Workload, int]:
    """One entry for all workloads at one address and port: the first by uid stands for them."""
    if before is None:
        return workload, workload.capacity
    first, weight = before
    return min(first, workload, key=lambda w: w.uid), weight + workload.capacity


def port_key(service: str, port: int, family: Family) -> bytes:
    """Where the kernel looks for the endpoints of a service's port: a packed PortKey."""
    return PortKey(service=name_hash(service), port=port, family=family).pack()
