"""What a CONNECT is for, and who asks: pure.

Its ``:authority`` is a service's address or name, or a workload's address, with a port
of theirs. The client's certificate says who it is; what it says of itself doesn't count.
"""

from __future__ import annotations

from dataclasses import dataclass

from waypoint.targets import Target, Targets
from waypoint.tunnelled import WorkloadAt, tunnelled
from waypoint.worker import Caller
from ztunnel_compat.errors import HboneError
from ztunnel_compat.hbone import Authority, ConnectRequest, parse_authority
from ztunnel_compat.identity import Identity
from ztunnel_compat.model import Service
from ztunnel_compat.names import name_hash, target_hash
from ztunnel_compat.peer import FLOW_SERVICE
from ztunnel_compat.proxy_protocol import ProxyHeader

UNSPECIFIED = bytes(4)


@dataclass(frozen=True, slots=True)
class Client:
    """Who is at the other end of an HBONE connection; address: packed, never mapped."""

    identity: Identity
    address: bytes
    port: int


def asked(
    targets: Targets, workload_at: WorkloadAt, client: Client, request: ConnectRequest
) -> tuple[Caller, Target] | None:
    """The caller and the target; None: it isn't of this waypoint (yet)."""
    authority = request.authority
    destination, number = authority.address, None
    if destination is None:
        service = named(targets, authority, client.identity.namespace)
        if service is None:
            return None
        number = target_hash(name_hash(service.key), authority.port), FLOW_SERVICE
        destination = own_address(service, targets.network)
    header = ProxyHeader(
        client.address,
        port_of(client, request),
        destination,
        authority.port,
        client.identity,
    )
    return tunnelled(targets, workload_at, header, number)


def named(targets: Targets, authority: Authority, namespace: str) -> Service | None:
    """The service of a name that is of this waypoint: the client's namespace goes first."""
    services = [
        service
        for service in targets.state.services_on_host(authority.host)
        if target_hash(name_hash(service.key), authority.port) in targets.by_hash
    ]
    return min(
        services,
        key=lambda service: (service.namespace != namespace, not service.canonical),
        default=None,
    )


def own_address(service: Service, network: str) -> bytes:
    """A virtual address of a service, to be shown; one that has none shows 0.0.0.0."""
    return next((a.address for a in service.addresses if a.network == network), UNSPECIFIED)


def port_of(client: Client, request: ConnectRequest) -> int:
    """The port of the client's own connection, where it tells of one from its address."""
    try:
        said = parse_authority(request.forwarded_for.encode("ascii", "replace"))
    except HboneError:
        return client.port
    return said.port if said.address == client.address else client.port
