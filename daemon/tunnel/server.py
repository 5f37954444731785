"""Tunnels for all enrolled pods of the node."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from daemon.policies.identities import Account
from daemon.telemetry.tunnels import Tunnels
from daemon.tunnel.authorize import Authorizer
from daemon.tunnel.client import Inbound
from daemon.tunnel.client import Pod as InboundPod
from daemon.tunnel.handover import give
from daemon.tunnel.inbound import InboundConnection
from daemon.tunnel.listeners import Listeners, open_listeners
from daemon.tunnel.outbound import Outbound
from daemon.tunnel.routes import SourcePod
from daemon.tunnel.secured import Secured
from daemon.tunnel.sockets import Acceptor, PodSockets, reset
from ztunnel_compat.credentials.credentials import Credentials
from ztunnel_compat.errors import CertificateError
from ztunnel_compat.identity import Identity
from ztunnel_compat.runtime.tasks import Tasks
from ztunnel_compat.state import Changes, WorkloadState

logger = logging.getLogger(__name__)

#: Seconds for a client's TLS handshake, a certificate of ours that isn't there included.
HANDSHAKE: Final = 10.0
#: How often it is looked whether connections have ended, while draining.
DRAIN_LOOK: Final = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """What other nodes may cost at a time: TLS handshakes, connections, tunnels."""

    handshakes: int = 512
    connections_of_one_pod: int = 2048
    connections_of_all: int = 8192
    tunnels_of_one_pod: int = 16384
    tunnels_of_all: int = 65536


class Bound(Enum):
    """What was bounded, or wrong, where a connection or tunnel was refused."""

    HANDSHAKES = "TLS handshakes at a time"
    CONNECTIONS = "HBONE connections"
    TUNNELS = "tunnels"
    CERTIFICATE = "no certificate to show"
    HANDSHAKE = "a client's TLS handshake"
    IDENTITY = "a client's certificate"
    REQUEST = "a request that is no CONNECT of use"


class PodTunnels(Protocol):
    """Tunnels as enrolment knows them."""

    def open(self, cookie: int, netns_fd: int, uid: str, account: Account) -> None:
        """Serve a pod by its netns; uid: its workload's xDS name. Raises EnrollError."""
        ...

    def close(self, cookie: int) -> None:
        """Serve it no longer; harmless for who isn't served."""
        ...

    def told(self) -> None:
        """All pods that there are were opened, or are soon to be closed."""
        ...


@dataclass(eq=False, slots=True)
class TunnelPod:
    """A pod that is served. netns: an open file of ours; source: who it is;
    connections: from other nodes.
    """

    source: SourcePod
    account: Account
    netns: int
    listeners: Listeners
    acceptors: list[Acceptor] = field(default_factory=list)
    connections: set[InboundConnection] = field(default_factory=set)
    tunnels: int = 0

    @property
    def uid(self) -> str:
        """Its workload's xDS name."""
        return self.source.uid

    @property
    def identity(self) -> Identity:
        """Whose certificate it shows."""
        return self.source.identity


class TunnelServer:
    """Serves pods from ``open`` to ``close``.

    inherited: listening sockets of a predecessor's, by their netns' cookie; trust_domains:
    beside a pod's own, those whose clients it takes. refused: how many, by what bound.
    """

    def __init__(
        self,
        *,
        mesh: WorkloadState,
        network: str,
        credentials: Credentials,
        authorizer: Authorizer,
        sockets: PodSockets,
        outbound: Outbound,
        telemetry: Tunnels,
        tasks: Tasks,
        trust_domains: frozenset[str] = frozenset(),
        inherited: dict[int, Listeners] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.mesh = mesh
        self.credentials = credentials
        self.authorizer = authorizer
        self.sockets = sockets
        self.outbound = outbound
        self.tasks = tasks
        self.trust_domains = trust_domains
        self.inherited = inherited or {}
        self.limits = limits or Limits()
        self.pods: dict[int, TunnelPod] = {}
        self.handshakes = self.connections = self.tunnels = 0
        self.refused: Counter[Bound] = Counter()
        self.closing = False
        self.inbound = Inbound(
            mesh=mesh,
            network=network,
            authorizer=authorizer,
            sockets=sockets,
            telemetry=telemetry,
            tasks=tasks,
            trust_domains=self.trusted,
            room=self.take_room,
            over=self.give_room,
            bad=lambda pod, error: self.refuse(Bound.REQUEST, f"{pod.uid}: {error}"),
        )

    # Pods

    def open(self, cookie: int, netns_fd: int, uid: str, account: Account) -> None:
        """Serve a pod by its netns; uid: its workload's xDS name.

        Raises EnrollError when a program of the pod listens where tunnels arrive,
        OSError, NetnsError.
        """
        if self.closing:
            return
        if (pod := self.pods.get(cookie)) is not None:
            pod.account = account
            self.identify(pod, uid)
            return
        listeners = self.inherited.pop(cookie, None) or open_listeners(netns_fd)
        source = SourcePod(cookie, uid, account.identity(self.mesh.workload(uid)))
        pod = self.pods[cookie] = TunnelPod(source, account, os.dup(netns_fd), listeners)
        self.credentials.hold(pod.identity)
        pod.acceptors += [
            Acceptor(self.sockets.poller, listener, partial(take, pod))
            for listeners_of, take in (
                (listeners.outbound, self.accept_outbound),
                (listeners.hbone, self.accept),
            )
            for listener in listeners_of
        ]

    def close(self, cookie: int) -> None:
        """Serve a pod no longer, from now on: what it has is broken off (ztunnel)."""
        pod = self.pods.pop(cookie, None)
        if pod is None:
            return
        for acceptor in pod.acceptors:
            acceptor.close()
        pod.listeners.close()
        self.outbound.leave(cookie)
        self.outbound.pool.leave(cookie)
        for connection in list(pod.connections):
            connection.abort("the pod left")
        os.close(pod.netns)
        self.credentials.drop(pod.identity)
        if all(other.uid != pod.uid for other in self.pods.values()):
            self.authorizer.forget(pod.uid)

    def told(self) -> None:
        """Every pod there is was named: nobody else needs what was inherited."""
        inherited, self.inherited = self.inherited, {}
        for listeners in inherited.values():
            listeners.close()

    def on_change(self, changes: Changes) -> None:
        """The mesh changed."""
        for pod in self.pods.values():
            if pod.uid in changes.workloads:
                self.identify(pod, pod.uid)
            for connection in pod.connections:
                connection.known.clear()
        self.authorizer.on_change(changes)
        self.outbound.on_change()

    def identify(self, pod: TunnelPod, uid: str) -> None:
        """Find out again who a pod is: enrolment doesn't know its trust domain."""
        identity = pod.account.identity(self.mesh.workload(uid))
        if identity != pod.identity:
            self.credentials.hold(identity)
            self.credentials.drop(pod.identity)
        pod.source = SourcePod(pod.source.cookie, uid, identity)

    def netns_of(self, cookie: int) -> int | None:
        """The network namespace of a pod, as an open file of ours."""
        pod = self.pods.get(cookie)
        return None if pod is None else pod.netns

    def trusted(self, pod: InboundPod) -> frozenset[str]:
        """The trust domains whose clients may speak to a pod."""
        return self.trust_domains | {pod.identity.trust_domain}

    # Connections

    def accept_outbound(self, pod: TunnelPod, connection: socket.socket) -> None:
        """Take a connection of the pod's own, which the kernel redirected."""
        self.outbound.take(pod.source, connection)

    def accept(self, pod: TunnelPod, connection: socket.socket) -> None:
        """Take a connection of another node, if there is room."""
        limits = self.limits
        if self.handshakes >= limits.handshakes:
            self.refuse(Bound.HANDSHAKES, pod.uid)
        elif (
            len(pod.connections) >= limits.connections_of_one_pod
            or self.connections + self.handshakes >= limits.connections_of_all
        ):
            self.refuse(Bound.CONNECTIONS, pod.uid)
        else:
            self.handshakes += 1
            self.tasks.spawn(self.secure(pod, connection), "TLS handshake")
            return
        reset(connection)

    async def secure(self, pod: TunnelPod, connection: socket.socket) -> None:
        """Do the TLS handshake; from then on the connection serves itself."""
        made = InboundConnection(self.inbound, pod)
        made.ended = partial(self.ended, pod, made)
        try:
            async with asyncio.timeout(HANDSHAKE):
                context = await self.credentials.server_context(pod.identity)
                await Secured(self.sockets.poller, connection, context, made).shake()
        except CertificateError as error:
            self.refuse(Bound.CERTIFICATE, f"{pod.uid}: {error}")
            reset(connection)
            return
        except (OSError, TimeoutError) as error:
            self.refuse(Bound.HANDSHAKE, f"{pod.uid}: {error}")
            reset(connection)
            return
        finally:
            self.handshakes -= 1
        if made.refusal is not None:
            self.refuse(Bound.IDENTITY, f"{pod.uid}: {made.refusal}")
        elif not made.closed:
            self.connections += 1
            pod.connections.add(made)
            if self.pods.get(pod.source.cookie) is not pod:
                made.abort("the pod left")
            elif self.closing:
                made.drain()

    def ended(self, pod: TunnelPod, connection: InboundConnection) -> None:
        """A connection is gone."""
        if connection in pod.connections:
            pod.connections.discard(connection)
            self.connections -= 1

    def take_room(self, pod: InboundPod) -> bool:
        """Whether a pod may have another tunnel; it is its then."""
        assert isinstance(pod, TunnelPod)
        if (
            pod.tunnels >= self.limits.tunnels_of_one_pod
            or self.tunnels >= self.limits.tunnels_of_all
        ):
            self.refuse(Bound.TUNNELS, pod.uid)
            return False
        pod.tunnels += 1
        self.tunnels += 1
        return True

    def give_room(self, pod: InboundPod) -> None:
        """A tunnel is over."""
        assert isinstance(pod, TunnelPod)
        pod.tunnels -= 1
        self.tunnels -= 1

    def refuse(self, bound: Bound, whose: str) -> None:
        """Count what wasn't served; a line for the 1st, 2nd, 4th …"""
        self.refused[bound] += 1
        count = self.refused[bound]
        if count & (count - 1) == 0:
            logger.warning("tunnels refused %d for %s, now of %s", count, bound.value, whose)

    # The end

    def stop_accepting(self) -> None:
        """Take nothing new; connections wait in the kernel for a successor."""
        self.closing = True
        for pod in self.pods.values():
            for acceptor in pod.acceptors:
                acceptor.close()

    @property
    def busy(self) -> int:
        """Connections that aren't over."""
        relays = sum(map(len, self.outbound.relays.values()))
        return self.connections + self.handshakes + len(self.outbound.openings) + relays

    async def drain(self, handover: Path, seconds: float) -> None:
        """Give the listening sockets to a successor, and let tunnels end.

        For so many seconds at most; less, once both are done. What is left is broken
        off. ``stop_accepting`` comes first.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(self.hand_over(handover), self.let_end())
        if self.busy:
            logger.warning("%d tunnelled connections are broken off", self.busy)
        for cookie in list(self.pods):
            self.close(cookie)
        self.outbound.pool.close("the node agent stops")

    async def hand_over(self, path: Path) -> None:
        """Give the listening sockets to a successor, when it comes."""
        if not self.pods:
            return
        try:
            await give(path, {cookie: pod.listeners for cookie, pod in self.pods.items()})
            logger.info("a successor has the listening sockets of %d pods", len(self.pods))
        except OSError as error:
            logger.error("listening sockets can't be handed over at %s: %s", path, error)
        for pod in self.pods.values():
            pod.listeners.close()

    async def let_end(self) -> None:
        """Tell the other nodes, and wait until nothing is left."""
        for pod in self.pods.values():
            for connection in list(pod.connections):
                connection.drain()
        # What is on its way to a connection goes first.
        await until(lambda: not self.outbound.openings)
        self.outbound.pool.drain()
        await until(lambda: not self.busy)


async def until(done: Callable[[], bool]) -> None:
    """Look now and then whether something is so."""
    while True:
        if done():
            return
        await asyncio.sleep(DRAIN_LOOK)
