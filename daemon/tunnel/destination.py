"""What a CONNECT that reached a pod leads to, or why it leads nowhere.

ztunnel's rules (src/proxy/inbound.rs): the address asked for is the pod's own, where
the tunnel ends; what a workload with an application tunnel is asked for, it sorts out
itself. Ports of tunnels are nobody's application.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ztunnel_compat.errors import HboneError
from ztunnel_compat.hbone import Authority
from ztunnel_compat.model import Workload
from ztunnel_compat.state import WorkloadState

#: ztunnel's outbound, inbound plaintext, HBONE and SOCKS5 ports.
TUNNEL_PORTS: Final = frozenset((15001, 15006, 15008, 15080))


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a stream's bytes go: a port of the pod.

    proxied: behind a PROXY header, at the port that the workload has for that; no
    policy of the pod is asked then, for what is asked for isn't the pod.
    """

    port: int
    proxied: bool = False


def destination(
    authority: Authority, local: bytes, workload: Workload | None, mesh: WorkloadState
) -> Destination:
    """Where a CONNECT leads; raises HboneError when it leads nowhere.

    local: where its connection was accepted, packed, never mapped; workload: the pod's,
    None while the control plane doesn't know it.
    """
    if authority.port in TUNNEL_PORTS:
        raise HboneError(f"{authority}: a tunnel within a tunnel isn't supported")
    if authority.address is None:
        raise HboneError(
            f"{authority}: a service's name isn't supported here: ask for a pod's address"
        )
    if workload is not None and workload.application_tunnel is not None:
        return Destination(workload.application_tunnel.port, proxied=True)
    if authority.address == local:
        return Destination(authority.port)
    network = workload.network if workload is not None else ""
    if mesh.service_at(network, authority.address) is not None:
        raise HboneError(f"{authority}: a service's address, and this pod is no waypoint")
    raise HboneError(f"{authority}: another address than the tunnel's own end")
