"""Who is at the other end of a tunnel, and what for: pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from waypoint.metrics.labels import client_of
from waypoint.routing import Source
from waypoint.sockets import show_address
from waypoint.targets import Target, Targets
from waypoint.worker import Caller
from ztunnel_compat.labels import workload_labels
from ztunnel_compat.model import Workload
from ztunnel_compat.names import name_hash
from ztunnel_compat.peer import FLOW_TUNNELLED, Peer
from ztunnel_compat.proxy_protocol import ProxyHeader, to_16_bytes

#: The workload at a packed address.
WorkloadAt = Callable[[bytes], Workload | None]


def tunnelled(
    targets: Targets,
    workload_at: WorkloadAt,
    header: ProxyHeader,
    asked: tuple[int, int] | None = None,
) -> tuple[Caller, Target] | None:
    """The caller and the target, or None: what is asked for isn't of this waypoint (yet).

    asked: as ``Targets.asked``, where a name says it better than the header's address. The
    certificate says who it is; which workload that is needn't be known here.
    """
    asked = asked or targets.asked(header.destination, header.destination_port)
    if asked is None:
        return None
    number, service = asked
    identity = str(header.identity)
    source = workload_at(header.source)
    peer = Peer(
        source=name_hash(source.uid) if source and str(source.identity) == identity else 0,
        target=number,
        original_address=to_16_bytes(header.destination),
        original_port=header.destination_port,
        flags=FLOW_TUNNELLED | service,
        far_address=to_16_bytes(header.source),
        far_port=header.source_port,
    )
    target = targets.find(peer)
    if target is None:
        return None
    far = (str(ipaddress.ip_address(header.source)), header.source_port)
    proven = source if peer.source else None
    labels = workload_labels(proven) if proven is not None else {}
    caller = Caller(
        peer,
        identity,
        f"{original(peer)} {show_address(far)} -",
        Source(header.identity.namespace if header.identity else "", labels),
        far,
        asked_address(peer),
        client_of(proven, header.identity, tunnelled=True),
    )
    return caller, target


def original(peer: Peer) -> str:
    """The address that the client asked for, as the access log shows it."""
    return show_address(asked_address(peer))


def asked_address(peer: Peer) -> tuple[str, int]:
    """The address and port that the client asked for."""
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    address = ipaddress.IPv6Address(peer.original_address)
    return str(address.ipv4_mapped or address), peer.original_port
