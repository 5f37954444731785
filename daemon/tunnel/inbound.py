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
from typing import Final

from bpf.addresses import mapped
from bpf.errors import BpfError
from bpf.layout import FlowFlag, Mark, TunnelPort
from daemon.policies.identities import identity_hash
from daemon.tunnel.authorize import Denial
from daemon.tunnel.client import ClientConnection, Pod
from daemon.tunnel.destination import Destination, destination
from daemon.tunnel.errors import ResponseFlag
from daemon.tunnel.relay import Relay
from daemon.tunnel.report import Report
from daemon.tunnel.sockets import Connecting, reset
from ztunnel_compat.errors import HboneError
from ztunnel_compat.h2.connection import Stream
from ztunnel_compat.hbone import (
    Authority,
    ConnectRequest,
    Headers,
    parse_authority,
    parse_request,
    response_headers,
    text_of,
)
from ztunnel_compat.names import name_hash, target_hash
from ztunnel_compat.proxy_protocol import ProxyHeader, encode_proxy
from ztunnel_compat.rbac import Connection

LOOPBACKS: Final = (bytes([127, 0, 0, 1]), bytes(15) + b"\x01")


class RefusedError(Exception):
    """A CONNECT isn't served; status: what it is answered with."""

    def __init__(self, status: int, flag: ResponseFlag, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.flag = flag


class InboundConnection(ClientConnection):
    """Serves what a client asks for."""

    def on_request(self, stream: Stream, headers: Headers, end: bool) -> None:
        """A client asks for a connection."""
        try:
            request = parse_request(headers)
        except HboneError as error:
            self.inbound.bad(self.pod, f"{self.client.identity}: {error}")
            self.turn_down(stream, 400)
            return
        pod = self.pod.at(request.authority.port)
        if pod is None:
            self.inbound.nobodys(self.pod, f"{self.client.identity}: {request.authority}")
            self.turn_down(stream, 503)
            return
        if not self.inbound.room(pod):  # counted, and said, by whoever knows why
            self.turn_down(stream, 503)
            return
        tunnel = InboundTunnel(self, pod, stream, request)
        if end:
            tunnel.relay.on_data(b"", True)
        tunnel.begin()


class InboundTunnel:
    """One CONNECT to a pod, from its request to the end of its bytes."""

    def __init__(
        self, connection: ClientConnection, pod: Pod, stream: Stream, request: ConnectRequest
    ) -> None:
        self.owner = connection
        self.pod = pod
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
        self.called = connection.called(pod, request.forwarded_host)
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
        inbound, uid = self.owner.inbound, self.pod.uid
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
        self.owner.turn_down(self.stream, refused.status)

    def decide(self) -> Destination:
        """Where it leads; raises RefusedError when it may not."""
        inbound, pod = self.owner.inbound, self.pod
        if pod.left:
            raise RefusedError(503, ResponseFlag.CONNECT, "the workload left")
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
        sockets = self.owner.inbound.sockets
        try:
            return sockets.begin(self.pod.netns, address, led.port, self.mark())
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
        uid = name_hash(self.pod.uid)
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
        inbound.authorizer.leave(self.pod.uid, self)
        inbound.over(self.pod)
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


def forwarded(text: str) -> Authority | None:
    """An ``address:port`` that was forwarded, or None."""
    try:
        found = parse_authority(text.encode("ascii", "replace"))
    except HboneError:
        return None
    return found if found.address is not None else None
