"""Tunnels for all enrolled pods of the node, and for enrolled cgroups."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from daemon.policies.identities import Account, workload_identity
from daemon.telemetry.tunnels import Tunnels
from daemon.tunnel.authorize import Authorizer, Denial
from daemon.tunnel.bounds import Bound, Limits
from daemon.tunnel.client import Inbound
from daemon.tunnel.client import Pod as InboundPod
from daemon.tunnel.handover import give
from daemon.tunnel.inbound import InboundConnection, InboundTunnel
from daemon.tunnel.listeners import Listeners, open_listeners
from daemon.tunnel.outbound import Outbound
from daemon.tunnel.places import Place, PodPlace, PortOwner, SharedPlace, TunnelPod
from daemon.tunnel.routes import SourcePod
from daemon.tunnel.secured import Secured
from daemon.tunnel.sockets import PodSockets, reset
from ztunnel_compat.credentials.credentials import Credentials
from ztunnel_compat.errors import CertificateError
from ztunnel_compat.runtime.tasks import Tasks
from ztunnel_compat.state import Changes, WorkloadState

logger = logging.getLogger(__name__)

#: Seconds for a client's TLS handshake, a certificate of ours that isn't there included.
HANDSHAKE: Final = 10.0
#: How often it is looked whether connections have ended, while draining.
DRAIN_LOOK: Final = 0.1


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


class TunnelServer:
    """Serves pods from ``open`` to ``close``.

    inherited: listening sockets of a predecessor's, by their netns' cookie, and tellers: how
    many have to say who is there (``told``) until the rest is closed; trust_domains:
    beside a pod's own, those whose clients it takes; owner_of: whose a port is in a
    namespace that several share. refused: how many, by what bound.
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
        tellers: int = 1,
        owner_of: PortOwner = lambda _: None,
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
        self.tellers = tellers
        self.owner_of = owner_of
        self.limits = limits or Limits()
        self.places: dict[int, PodPlace | SharedPlace] = {}
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
            nobodys=lambda pod, asked: self.refuse(Bound.PORT, f"{pod.uid}: {asked}"),
        )

    # Pods

    def open(self, cookie: int, netns_fd: int, uid: str, account: Account) -> None:
        """Serve a pod by its netns; uid: its workload's xDS name.

        Raises EnrollError when a program of the pod listens where tunnels arrive,
        OSError, NetnsError.
        """
        if self.closing:
            return
        if isinstance(place := self.places.get(cookie), PodPlace):
            place.pod.account = account
            self.identify(place.pod, uid)
            return
        made = PodPlace(cookie, os.dup(netns_fd), self.listeners(cookie, netns_fd))
        identity = account.identity(self.mesh.workload(uid))
        made.pod = TunnelPod(made, SourcePod(cookie, uid, identity), account)
        self.credentials.hold(identity)
        self.serve(made)

    def open_member(self, cookie: int, netns_fd: int, uid: str) -> None:
        """Serve a workload in the network namespace that it shares with others.

        In a pod's, its processes are the pod. The control plane knows the workload.
        Raises EnrollError when another program listens where tunnels begin or end,
        OSError, NetnsError.
        """
        place = self.places.get(cookie)
        workload = self.mesh.workload(uid)
        if self.closing or isinstance(place, PodPlace) or workload is None:
            return
        if place is None:
            place = SharedPlace(
                cookie,
                os.dup(netns_fd),
                self.listeners(cookie, netns_fd),
                owner_of=self.owner_of,
            )
            self.serve(place)
        if uid not in place.members:
            source = SourcePod(cookie, uid, workload_identity(workload))
            place.members[uid] = TunnelPod(place, source, None)
            self.credentials.hold(source.identity)

    def listeners(self, cookie: int, netns_fd: int) -> Listeners:
        """A predecessor's listening sockets, or new ones."""
        return self.inherited.pop(cookie, None) or open_listeners(netns_fd)

    def serve(self, place: PodPlace | SharedPlace) -> None:
        """Accept what comes to a place."""
        self.places[place.cookie] = place
        place.accept(
            self.sockets.poller,
            lambda connection: self.outbound.take(place.sources, connection),
            lambda connection: self.accept(place, connection),
        )

    def close(self, cookie: int) -> None:
        """Serve a pod no longer, from now on: what it has is broken off (ztunnel)."""
        place = self.places.pop(cookie, None)
        if place is None:
            return
        for acceptor in place.acceptors:
            acceptor.close()
        place.listeners.close()
        for pod in place.pods:
            self.dismiss(pod)
        self.outbound.pool.leave(cookie)
        for connection in list(place.connections):
            connection.abort("the pod left")
        os.close(place.netns)

    def close_member(self, cookie: int, uid: str) -> None:
        """Serve one of several no longer; with the last of them nobody listens there."""
        place = self.places.get(cookie)
        if not isinstance(place, SharedPlace) or uid not in place.members:
            return
        if len(place.members) == 1:
            self.close(cookie)
            return
        pod = place.members.pop(uid)
        self.dismiss(pod)
        for one in list(self.authorizer.admitted.get(uid, ())):
            if isinstance(one, InboundTunnel) and one.pod is pod:
                one.revoke(Denial("the workload left"))
        if pod.identity not in place.identities:
            self.outbound.pool.leave(cookie, pod.identity)

    def dismiss(self, pod: TunnelPod) -> None:
        """A workload is served no longer."""
        pod.left = True
        self.outbound.leave(pod.source)
        self.credentials.drop(pod.identity)
        if all(other.uid != pod.uid for other in self.pods):
            self.authorizer.forget(pod.uid)

    def told(self) -> None:
        """Every pod there is was named: nobody else needs what was inherited.

        Or every member, by another; after the last of them.
        """
        self.tellers -= 1
        if self.tellers > 0:
            return
        inherited, self.inherited = self.inherited, {}
        for listeners in inherited.values():
            listeners.close()

    @property
    def pods(self) -> Iterator[TunnelPod]:
        """All workloads that are served."""
        return (pod for place in self.places.values() for pod in place.pods)

    def on_change(self, changes: Changes) -> None:
        """The mesh changed."""
        for pod in self.pods:
            if pod.uid in changes.workloads:
                self.identify(pod, pod.uid)
        for place in self.places.values():
            for connection in place.connections:
                connection.known.clear()
        self.authorizer.on_change(changes)
        self.outbound.on_change()

    def identify(self, pod: TunnelPod, uid: str) -> None:
        """Find out again who a pod is: enrolment doesn't know its trust domain."""
        workload, identity = self.mesh.workload(uid), pod.identity
        if pod.account is not None:
            identity = pod.account.identity(workload)
        elif workload is not None:
            identity = workload_identity(workload)
        if identity != pod.identity:
            self.credentials.hold(identity)
            self.credentials.drop(pod.identity)
        pod.source = SourcePod(pod.source.cookie, uid, identity)

    def netns_of(self, cookie: int) -> int | None:
        """A network namespace that is served, as an open file of ours."""
        place = self.places.get(cookie)
        return None if place is None else place.netns

    def trusted(self, pod: InboundPod) -> frozenset[str]:
        """The trust domains whose clients may speak to a pod."""
        return self.trust_domains | {pod.identity.trust_domain}

    # Connections

    def accept(self, place: PodPlace | SharedPlace, connection: socket.socket) -> None:
        """Take a connection of another node, if there is room."""
        limits = self.limits
        if self.handshakes >= limits.handshakes:
            self.refuse(Bound.HANDSHAKES, place.name)
        elif (
            len(place.connections) >= limits.connections_of_one_pod
            or self.connections + self.handshakes >= limits.connections_of_all
        ):
            self.refuse(Bound.CONNECTIONS, place.name)
        else:
            self.handshakes += 1
            self.tasks.spawn(self.secure(place, connection), "TLS handshake")
            return
        reset(connection)

    async def secure(self, place: PodPlace | SharedPlace, connection: socket.socket) -> None:
        """Do the TLS handshake; from then on the connection serves itself."""
        end = place.end()
        made = InboundConnection(self.inbound, end)
        made.ended = partial(self.ended, place, made)
        try:
            async with asyncio.timeout(HANDSHAKE):
                context = await end.server_context(self.credentials)
                await Secured(self.sockets.poller, connection, context, made).shake()
        except CertificateError as error:
            self.refuse(Bound.CERTIFICATE, f"{end.uid}: {error}")
            reset(connection)
            return
        except (OSError, TimeoutError) as error:
            bound = Bound.CERTIFICATE if end.refusal else Bound.HANDSHAKE
            self.refuse(bound, f"{end.uid}: {end.refusal or error}")
            reset(connection)
            return
        finally:
            self.handshakes -= 1
        if made.refusal is not None:
            self.refuse(Bound.IDENTITY, f"{end.uid}: {made.refusal}")
        elif not made.closed:
            self.connections += 1
            place.connections.add(made)
            if self.places.get(place.cookie) is not place:
                made.abort("the pod left")
            elif self.closing:
                made.drain()

    def ended(self, place: Place, connection: InboundConnection) -> None:
        """A connection is gone."""
        if connection in place.connections:
            place.connections.discard(connection)
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
        for place in self.places.values():
            for acceptor in place.acceptors:
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
        for cookie in list(self.places):
            self.close(cookie)
        self.outbound.pool.close("the node agent stops")

    async def hand_over(self, path: Path) -> None:
        """Give the listening sockets to a successor, when it comes."""
        places = self.places
        if not places:
            return
        try:
            await give(path, {cookie: place.listeners for cookie, place in places.items()})
            logger.info("a successor has the listening sockets of %d places", len(places))
        except OSError as error:
            logger.error("listening sockets can't be handed over at %s: %s", path, error)
        for place in places.values():
            place.listeners.close()

    async def let_end(self) -> None:
        """Tell the other nodes, and wait until nothing is left."""
        for place in self.places.values():
            for connection in list(place.connections):
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
