"""HBONE's server: from another node to a pod here.

A client proves who it is by its certificate, then asks for connections by CONNECT. Each
is decided on by itself, made from within the pod, and answered with 200 only once the
application took it; statuses are ztunnel's (src/proxy/inbound.rs): 400 for what can't be
asked for, 401 for what a policy denies, 503 for an application that isn't there.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Protocol

from bpf.addresses import mapped
from bpf.errors import BpfError
from bpf.layout import FlowFlag, Mark, TunnelPort
from daemon.policies.identities import identity_hash, workload_identity
from daemon.telemetry.tunnels import Ends, Tunnels
from daemon.tunnel.authorize import Authorizer, Denial
from daemon.tunnel.connection import Timing, TunnelConnection
from daemon.tunnel.destination import Destination, destination
from daemon.tunnel.errors import ResponseFlag, TunnelError
from daemon.tunnel.relay import Relay
from daemon.tunnel.report import Report
from daemon.tunnel.secured import Secured
from daemon.tunnel.sockets import Connecting, PodSockets, reset
from ztunnel_compat.certificates import verify_peer
from ztunnel_compat.errors import CertificateError, HboneError
from ztunnel_compat.h2.codes import ErrorCode
from ztunnel_compat.h2.connection import Stream
from ztunnel_compat.hbone import (
    Authority,
    Baggage,
    ConnectRequest,
    Headers,
    parse_authority,
    parse_request,
    response_headers,
    text_of,
)
from ztunnel_compat.identity import Identity
from ztunnel_compat.istio_labels import Labels
from ztunnel_compat.model import Service
from ztunnel_compat.names import name_hash, target_hash
from ztunnel_compat.proxy_protocol import ProxyHeader, encode_proxy, unmapped
from ztunnel_compat.rbac import Connection
from ztunnel_compat.runtime.tasks import Tasks
from ztunnel_compat.state import WorkloadState

#: Seconds for the application to take a connection; ztunnel's.
CONNECT: Final = 10.0
#: Services that a connection's client may say it called, before what is known of their
#: tunnels is found out anew.
MOST_KNOWN: Final = 64
LOOPBACKS: Final = (bytes([127, 0, 0, 1]), bytes(15) + b"\x01")
#: Clients close what they don't use (ztunnel).
SERVED: Final = Timing()


class Pod(Protocol):
    """Where tunnels end."""

    netns: int
    """Its network namespace, as an open file."""

    @property
    def uid(self) -> str:
        """Its workload's xDS name."""
        ...

    @property
    def identity(self) -> Identity:
        """Whose certificate it shows."""
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
    told of what is no CONNECT that could be served.
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
    connect_seconds: float = CONNECT


class RefusedError(Exception):
    """A CONNECT isn't served; status: what it is answered with."""

    def __init__(self, status: int, flag: ResponseFlag, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.flag = flag


class InboundConnection(TunnelConnection):
    """One client's connection to a pod."""

    client: Client
    local: bytes

    def __init__(
        self, inbound: Inbound, pod: Pod, *, ended: Callable[[TunnelConnection], None]
    ) -> None:
        super().__init__(
            inbound.sockets.poller, self.take, check=self.recognise, timing=SERVED, ended=ended
        )
        self.inbound = inbound
        self.pod = pod
        #: Who is at the ends of tunnels, by the service that the client says it called;
        #: the same until a push.
        self.known: dict[str, Called] = {}

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

    def take(
        self, _connection: TunnelConnection, stream: Stream, headers: Headers, end: bool
    ) -> None:
        """A client asks for a connection."""
        try:
            request = parse_request(headers)
        except HboneError as error:
            self.inbound.bad(self.pod, f"{self.client.identity}: {error}")
            self.answer(stream, 400)
            return
        if not self.inbound.room(self.pod):  # counted, and said, by whoever knows why
            self.answer(stream, 503)
            return
        tunnel = InboundTunnel(self, stream, request)
        if end:
            tunnel.relay.on_data(b"", True)
        tunnel.begin()

    def called(self, hostname: str) -> Called:
        """Who is at the ends of a tunnel; hostname: of the service, or empty."""
        known = self.known.get(hostname)
        if known is None:
            ends = self.find_ends(hostname)
            baggage = Baggage.of(ends.destination).encode() if ends.destination else b""
            known = Called(ends, ends.labels(), baggage)
            if len(self.known) >= MOST_KNOWN:
                self.known.clear()
            self.known[hostname] = known
        return known

    def find_ends(self, hostname: str) -> Ends:
        """Who is at the ends, as far as it is known."""
        inbound, pod, client = self.inbound, self.pod, self.client
        source = inbound.mesh.workload_at(inbound.network, client.address)
        if source is not None and workload_identity(source) != client.identity:
            source = None
        return Ends(
            outbound=False,
            source=source,
            source_identity=client.identity,
            destination=inbound.mesh.workload(pod.uid),
            destination_identity=pod.identity,
            service=called_service(inbound.mesh, pod.uid, hostname),
        )

    def answer(self, stream: Stream, status: int) -> None:
        """Answer a request that comes to nothing, and want no more of it."""
        if not self.closed:
            self.respond(stream, response_headers(status), end=True)
            if not stream.remote_closed:
                # RFC 9113 section 8.1: after a whole answer, that is no error.
                self.reset(stream, ErrorCode.NO_ERROR)


class InboundTunnel:
    """One CONNECT, from its request to the end of its bytes."""

    def __init__(
        self, connection: InboundConnection, stream: Stream, request: ConnectRequest
    ) -> None:
        self.owner = connection
        self.stream = stream
        self.request = request
        self.relay = Relay(connection, ended=self.ended)
        self.relay.stream = stream
        stream.data = self.relay
        self.task: asyncio.Task[None] | None = None
        self.connecting: Connecting | None = None
        self.denial: Denial | None = None
        self.established = False
        client = connection.client
        #: What policies decide on.
        self.connection = Connection(
            client.identity, client.address, connection.local, request.authority.port
        )
        #: Where the client's own connection came from, packed, and its port.
        self.source = self.client_address()
        self.called = connection.called(request.forwarded_host)
        self.report = Report(
            connection.inbound.telemetry,
            self.called.ends,
            self.called.labels,
            source=self.source,
            destination=(connection.local, TunnelPort.HBONE),
            target=str(request.authority),
        )

    def begin(self) -> None:
        """Decide and connect at once where all is known; else wait for it."""
        inbound, uid = self.owner.inbound, self.owner.pod.uid
        if inbound.authorizer.is_settled(uid):
            self.serve()
        else:
            self.task = inbound.tasks.spawn(self.settle(uid), "tunnel")

    async def settle(self, uid: str) -> None:
        """The control plane may be slower than a client."""
        await self.owner.inbound.authorizer.settled(uid)
        self.serve()

    def serve(self) -> None:
        """Decide, and connect; the kernel mostly has done so at once."""
        try:
            led = self.decide()
            made = self.connect(led)
        except RefusedError as refused:
            self.refuse(refused)
            return
        if isinstance(made, Connecting):
            self.connecting = made
            self.task = self.owner.inbound.tasks.spawn(self.wait(made, led), "tunnel")
        else:
            self.establish(made, led)

    async def wait(self, connecting: Connecting, led: Destination) -> None:
        """The application takes its time."""
        inbound = self.owner.inbound
        try:
            async with asyncio.timeout(inbound.connect_seconds):
                application = await connecting.done()
        except TimeoutError:
            message = f"no answer within {inbound.connect_seconds:g} s"
            self.refuse(RefusedError(503, ResponseFlag.CONNECT, message))
        except OSError as error:
            self.refuse(cannot(error))
        else:
            self.establish(application, led)

    def establish(self, application: socket.socket, led: Destination) -> None:
        """The application took the connection: answer, and let bytes flow."""
        if self.relay.over:  # the client left, and nobody waited any more
            reset(application)
            return
        if self.denial is not None:
            reset(application)
            self.refuse(RefusedError(401, ResponseFlag.DENY, self.denial.reason))
            return
        if led.proxied:
            # A socket that nothing was written to has room for it.
            application.send(self.proxy_header())
        self.established = True
        self.report.opened(self)
        self.owner.respond(self.stream, response_headers(200, self.called.baggage))
        self.relay.join(application)

    def refuse(self, refused: RefusedError) -> None:
        """Answer that it comes to nothing, and say why."""
        self.report.ended(str(refused), refused.flag)
        self.relay.close()
        self.owner.answer(self.stream, refused.status)

    def decide(self) -> Destination:
        """Where it leads; raises RefusedError when it may not."""
        inbound, pod = self.owner.inbound, self.owner.pod
        workload = inbound.mesh.workload(pod.uid)
        try:
            led = destination(self.request.authority, self.owner.local, workload, inbound.mesh)
        except HboneError as error:
            raise RefusedError(400, ResponseFlag.CONNECT, str(error)) from error
        if not led.proxied:
            denial = inbound.authorizer.admit(pod.uid, self)
            if denial is not None:
                raise RefusedError(401, ResponseFlag.DENY, denial.reason)
        return led

    def connect(self, led: Destination) -> socket.socket | Connecting:
        """Begin to connect from within the pod; raises RefusedError."""
        address, _ = text_of(self.owner.local)
        sockets, pod = self.owner.inbound.sockets, self.owner.pod
        try:
            return sockets.begin(pod.netns, address, led.port, self.mark())
        except (OSError, BpfError) as error:
            raise cannot(error) from error

    def proxy_header(self) -> bytes:
        """What tells the application who asks, and for what."""
        asked = self.request.authority
        assert asked.address is not None, "names lead nowhere"
        identity = self.owner.client.identity
        return encode_proxy(ProxyHeader(*self.source, asked.address, asked.port, identity))

    @property
    def moved(self) -> tuple[int, int]:
        """Bytes from the client, and from the application."""
        from_application, to_application = self.relay.moved
        return to_application, from_application

    def mark(self) -> Mark:
        """What the kernel is told of the connection."""
        source, port = self.source
        uid = name_hash(self.owner.pod.uid)
        asked = self.request.authority
        client = self.owner.client
        workload = self.report.ends.source
        return Mark(
            source=0 if workload is None else name_hash(workload.uid),
            target=target_hash(uid, asked.port),
            original=mapped(asked.address or self.owner.local),
            original_port=asked.port,
            flags=FlowFlag.TUNNELLED,
            destination=uid,
            far=mapped(source),
            far_port=port,
            identity=identity_hash(client.identity),
        )

    def client_address(self) -> tuple[bytes, int]:
        """Where the client's own connection came from.

        The address is that of the tunnel's connection. The port is what the other node
        says, where the client connected to it over loopback too: nothing but logs
        depends on it.
        """
        client = self.owner.client
        said = forwarded(self.request.forwarded_for)
        if said is not None and said.address in (client.address, *LOOPBACKS):
            return client.address, said.port
        return client.address, client.port

    def revoke(self, denial: Denial) -> None:
        """A push denies it."""
        self.denial = denial
        if self.established:
            self.relay.break_off(denial.reason)

    def ended(self, relay: Relay) -> None:
        """All is said, or broken."""
        inbound = self.owner.inbound
        inbound.authorizer.leave(self.owner.pod.uid, self)
        inbound.over(self.owner.pod)
        self.report.ended(relay.error)
        if (
            not self.established
            and self.task is not None
            and self.task is not asyncio.current_task()
        ):
            # The client left before it was answered. A task that hasn't begun never will.
            self.task.cancel()
            if self.connecting is not None:
                self.connecting.close()


def cannot(error: OSError | BpfError) -> RefusedError:
    """The kernel couldn't make a connection."""
    known = isinstance(error, OSError) and error.errno
    why = os.strerror(known) if known else str(error)
    return RefusedError(503, ResponseFlag.CONNECT, f"can't connect: {why}")


def called_service(mesh: WorkloadState, uid: str, hostname: str) -> Service | None:
    """The service that the client says it called, if the pod is of it."""
    if not hostname:
        return None
    return next(
        (s for s in mesh.services_on_host(hostname) if uid in mesh.endpoints(s.key)), None
    )


def forwarded(text: str) -> Authority | None:
    """An ``address:port`` that was forwarded, or None."""
    try:
        found = parse_authority(text.encode("ascii", "replace"))
    except HboneError:
        return None
    return found if found.address is not None else None


def address_of(host: str) -> bytes:
    """A socket's address, packed, 4 bytes where it was v4-mapped."""
    return unmapped(ip_address(host.partition("%")[0]).packed)
