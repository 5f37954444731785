"""Where pods' connections to other nodes go, found out once until a push."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bpf.layout import TunnelPort
from daemon.telemetry.tunnels import Ends
from daemon.tunnel.pool import PoolKey
from ztunnel_compat.errors import IdentityError
from ztunnel_compat.hbone import Authority, Baggage, server_name_of
from ztunnel_compat.identity import Identity
from ztunnel_compat.istio_labels import Labels
from ztunnel_compat.model import Service, Workload
from ztunnel_compat.names import name_hash
from ztunnel_compat.peer import FLOW_SERVICE, FLOW_WAYPOINT, Peer
from ztunnel_compat.state import WorkloadState

logger = logging.getLogger(__name__)

#: Routes that are kept until something is pushed.
MOST_ROUTES: Final = 10_000


@dataclass(frozen=True, slots=True)
class SourcePod:
    """A pod of this node; cookie: of its network namespace; workload: hash of uid."""

    cookie: int
    uid: str
    identity: Identity

    @property
    def workload(self) -> int:
        """What the kernel calls it."""
        return name_hash(self.uid)

    @property
    def place(self) -> tuple[int, str]:
        """Where it is, and which of those there; the same for as long as it is there."""
        return self.cookie, self.uid


@dataclass(frozen=True, slots=True)
class Route:
    """Where a pod's connections to one destination go; the same until a push."""

    key: PoolKey
    ends: Ends
    labels: Labels
    baggage: bytes
    service: str


class Routes:
    """Routes by who connects where; service_of: by the hash of a target; port: of HBONE."""

    def __init__(
        self,
        state: WorkloadState,
        service_of: Callable[[int], Service | None],
        port: int = TunnelPort.HBONE,
    ) -> None:
        self.state = state
        self.service_of = service_of
        self.port = port
        self.known: dict[tuple[int, str, int, int, int, bytes], Route] = {}

    def clear(self) -> None:
        """Something was pushed."""
        self.known.clear()

    def find(self, pod: SourcePod, peer: Peer) -> Route | None:
        """Where a connection goes; None: the destination isn't known (yet)."""
        at = (*pod.place, peer.destination, peer.target, peer.flags, peer.far_address)
        known = self.known.get(at)
        if known is None:
            destination = self.state.workload_by_hash(peer.destination)
            if destination is None:
                return None
            known = self.make(pod, peer, destination)
            if len(self.known) >= MOST_ROUTES:
                self.known.clear()
            self.known[at] = known
        return known

    def make(self, pod: SourcePod, peer: Peer, destination: Workload) -> Route:
        """Where a connection to this workload goes."""
        service = self.service_of(peer.target) if peer.flags & FLOW_SERVICE else None
        identity = destination.identity
        others = service.subject_alt_names if service and not at_waypoint(peer) else ()
        source = self.state.workload(pod.uid)
        far = Authority.of(peer.far_address, 0)
        assert far.address is not None
        neighbours = self.state.workloads_at(destination.network, far.address)
        ends = Ends(True, source, pod.identity, destination, identity, service)
        return Route(
            PoolKey(
                pod.cookie,
                pod.identity,
                frozenset((identity, *identities(others))),
                far.host,
                self.port,
                server_name_of(identity) if len(neighbours) > 1 else "",
            ),
            ends,
            ends.labels(),
            Baggage.of(source).encode() if source is not None else b"",
            service.hostname if service is not None else "",
        )


def at_waypoint(peer: Peer) -> bool:
    """Whether a connection goes to the waypoint of what was asked for."""
    return bool(peer.flags & FLOW_WAYPOINT)


def identities(names: tuple[str, ...]) -> list[Identity]:
    """A service's own names for who may answer; those of another form say nothing."""
    found = []
    for name in names:
        try:
            found.append(Identity.parse(name))
        except IdentityError as error:
            logger.debug("subject_alt_names: %s", error)
    return found
