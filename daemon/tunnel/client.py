"""A client's connection from another node: whose it is, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

from daemon.policies.identities import workload_identity
from daemon.telemetry.tunnels import Ends, Tunnels
from daemon.tunnel.authorize import Authorizer
from daemon.tunnel.connection import TunnelConnection
from daemon.tunnel.errors import ResponseFlag, TunnelError
from daemon.tunnel.secured import Secured
from daemon.tunnel.sockets import PodSockets
from ztunnel_compat.certificates import verify_peer
from ztunnel_compat.errors import CertificateError
from ztunnel_compat.h2.codes import Role
from ztunnel_compat.hbone import Baggage, address_of
from ztunnel_compat.identity import Identity
from ztunnel_compat.istio_labels import Labels
from ztunnel_compat.model import Service
from ztunnel_compat.runtime.tasks import Tasks
from ztunnel_compat.session.settings import SERVED
from ztunnel_compat.state import WorkloadState

#: Seconds for the application to take a connection; ztunnel's.
CONNECT: Final = 10.0
#: Services that a connection's client may say it called, before what is known of their
#: tunnels is found out anew.
MOST_KNOWN: Final = 64


class Pod(Protocol):
    """Where tunnels end."""

    @property
    def netns(self) -> int:
        """Its network namespace, as an open file."""
        ...

    @property
    def uid(self) -> str:
        """Its workload's xDS name."""
        ...

    @property
    def identity(self) -> Identity:
        """Whose certificate it shows."""
        ...

    @property
    def left(self) -> bool:
        """Whether it is served no longer."""
        ...

    def at(self, port: int) -> Pod | None:
        """Who has a port of its address; None: nobody that its client could mean."""
        ...


@dataclass(frozen=True, slots=True)
class Client:
    """Who is at the other end of a connection; address: packed, never mapped."""

    identity: Identity
    address: bytes
    port: int


@dataclass(frozen=True, slots=True)
class Called:
    """Who is at the ends of tunnels, and what is said of it.

    labels: in metrics; baggage: to the client, of the pod.
    """

    ends: Ends
    labels: Labels
    baggage: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """What all connections to this node share.

    trust_domains: those whose clients may speak to the pod at all; room:
    whether the pod may have another tunnel, which is its then until over is called; bad:
    told of what is no CONNECT that could be served, nobodys: of one for a port of nobody's.
    """

    mesh: WorkloadState
    network: str
    authorizer: Authorizer
    sockets: PodSockets
    telemetry: Tunnels
    tasks: Tasks
    trust_domains: Callable[[Pod], Collection[str]]
    room: Callable[[Pod], bool]
    over: Callable[[Pod], None]
    bad: Callable[[Pod, str], None]
    nobodys: Callable[[Pod, str], None]
    connect_seconds: float = CONNECT


class ClientConnection(TunnelConnection):
    """One client's connection to a pod."""

    client: Client
    local: bytes

    def __init__(self, inbound: Inbound, pod: Pod) -> None:
        super().__init__(
            inbound.sockets.poller, Role.SERVER, check=self.recognise, timing=SERVED
        )
        self.inbound = inbound
        self.pod = pod
        #: Who is at the ends of tunnels, by the service that the client says it called;
        #: the same until a push.
        self.known: dict[tuple[str, str], Called] = {}

    def recognise(self, secured: Secured) -> None:
        """See whose the certificate is; raises TunnelError for whom we don't speak to."""
        certificate = secured.tls.getpeercert(binary_form=True)
        try:
            host, port = secured.socket.getpeername()[:2]
            local = secured.socket.getsockname()[0]
        except OSError as error:
            raise TunnelError(ResponseFlag.CONNECT, f"it is gone: {error}") from error
        try:
            identity = verify_peer(certificate, self.inbound.trust_domains(self.pod))
        except CertificateError as error:
            raise TunnelError(ResponseFlag.TLS_FAILURE, str(error)) from error
        self.client = Client(identity, address_of(host), port)
        self.local = address_of(local)

    def called(self, pod: Pod, hostname: str) -> Called:
        """Who is at the ends of a tunnel; hostname: of the service, or empty."""
        known = self.known.get((pod.uid, hostname))
        if known is None:
            ends = self.find_ends(pod, hostname)
            baggage = Baggage.of(ends.destination).encode() if ends.destination else b""
            known = Called(ends, ends.labels(), baggage)
            if len(self.known) >= MOST_KNOWN:
                self.known.clear()
            self.known[pod.uid, hostname] = known
        return known

    def find_ends(self, pod: Pod, hostname: str) -> Ends:
        """Who is at the ends, as far as it is known."""
        inbound, client = self.inbound, self.client
        there = inbound.mesh.workloads_at(inbound.network, client.address)
        source = next((w for w in there if workload_identity(w) == client.identity), None)
        return Ends(
            outbound=False,
            source=source,
            source_identity=client.identity,
            destination=inbound.mesh.workload(pod.uid),
            destination_identity=pod.identity,
            service=called_service(inbound.mesh, pod.uid, hostname),
        )


def called_service(mesh: WorkloadState, uid: str, hostname: str) -> Service | None:
    """The service that the client says it called, if the pod is of it."""
    if not hostname:
        return None
    return next(
        (s for s in mesh.services_on_host(hostname) if uid in mesh.endpoints(s.key)), None
    )
