"""Where tunnels begin and end on this node, by network namespace.

pod          has its namespace to itself, and all ports there
shared place the namespace that enrolled cgroups are in: several workloads at the same
             addresses, beside programs that are not of the mesh. Which of them connects,
             the kernel says; whose a port is, bind() told it (``listeners``); which
             certificate to show, the client says (SNI) where they have several accounts
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from daemon.policies.identities import Account
from daemon.tunnel.client import Pod as End
from daemon.tunnel.inbound import InboundConnection
from daemon.tunnel.listeners import Listeners
from daemon.tunnel.poller import Poller
from daemon.tunnel.routes import SourcePod
from daemon.tunnel.sockets import Acceptor
from ztunnel_compat.credentials.contexts import choosing_context
from ztunnel_compat.credentials.credentials import Credentials
from ztunnel_compat.errors import CertificateError
from ztunnel_compat.hbone import SERVER_NAMES, server_name_of
from ztunnel_compat.identity import Identity

#: Whose a TCP port of a shared place is: the hash of a workload's uid, None for nobody's.
PortOwner = Callable[[int], int | None]
#: Told of each connection that a listener accepted.
Take = Callable[[socket.socket], None]


class ServerEnd(End, Protocol):
    """The end of one client's connection, while it is made."""

    refusal: str
    """Why there was no certificate for the client, once the handshake failed for that."""

    async def server_context(self, credentials: Credentials) -> ssl.SSLContext:
        """What the handshake is done with; raises CertificateError."""
        ...


@dataclass(eq=False, slots=True)
class Place:
    """A network namespace with our listeners. netns: an open file of ours.

    connections: from other nodes.
    """

    cookie: int
    netns: int
    listeners: Listeners
    acceptors: list[Acceptor] = field(default_factory=list)
    connections: set[InboundConnection] = field(default_factory=set)

    def accept(self, poller: Poller, outbound: Take, hbone: Take) -> None:
        """Begin to accept, at both kinds of listeners."""
        self.acceptors += [
            Acceptor(poller, listener, take)
            for listeners, take in (
                (self.listeners.outbound, outbound),
                (self.listeners.hbone, hbone),
            )
            for listener in listeners
        ]


@dataclass(eq=False, slots=True)
class TunnelPod:
    """A workload that is served at a place, a pod's or a shared one.

    source: who it is; account: by its enrolment, None where the control plane alone
    knows; left: it is served no longer.
    """

    place: Place
    source: SourcePod
    account: Account | None
    tunnels: int = 0
    left: bool = False
    refusal: str = ""

    @property
    def netns(self) -> int:
        """Its network namespace, as an open file."""
        return self.place.netns

    @property
    def uid(self) -> str:
        """Its workload's xDS name."""
        return self.source.uid

    @property
    def identity(self) -> Identity:
        """Whose certificate it shows."""
        return self.source.identity

    def at(self, _port: int) -> TunnelPod:
        """A pod has all ports of its addresses."""
        return self

    async def server_context(self, credentials: Credentials) -> ssl.SSLContext:
        """Its own certificate."""
        return await credentials.server_context(self.identity)


@dataclass(eq=False, slots=True)
class PodPlace(Place):
    """A pod's network namespace; pod: set as soon as it is made."""

    pod: TunnelPod = field(init=False)

    @property
    def pods(self) -> tuple[TunnelPod, ...]:
        """All workloads here."""
        return (self.pod,)

    @property
    def name(self) -> str:
        """For logs."""
        return self.pod.uid

    @property
    def sources(self) -> Mapping[int, SourcePod]:
        """Who may connect to other nodes from here, by the hashes of their uids."""
        return {self.pod.source.workload: self.pod.source}

    def end(self) -> ServerEnd:
        """Of a client's connection."""
        return self.pod


@dataclass(eq=False, slots=True)
class SharedPlace(Place):
    """A network namespace that several workloads are in; members: by their uids."""

    owner_of: PortOwner = field(kw_only=True)
    members: dict[str, TunnelPod] = field(default_factory=dict)

    @property
    def pods(self) -> tuple[TunnelPod, ...]:
        """All workloads here."""
        return tuple(self.members.values())

    @property
    def name(self) -> str:
        """For logs."""
        return ", ".join(sorted(self.members))

    @property
    def sources(self) -> Mapping[int, SourcePod]:
        """Who may connect to other nodes from here, by the hashes of their uids."""
        return {pod.source.workload: pod.source for pod in self.members.values()}

    @property
    def identities(self) -> set[Identity]:
        """Whose certificates may be shown."""
        return {pod.identity for pod in self.members.values()}

    def end(self) -> ServerEnd:
        """Of a client's connection."""
        return SharedEnd(self)

    def wanted(self, server_name: str | None) -> Identity:
        """Whose certificate a client wants; raises CertificateError when it is unclear.

        Another's name than those of ``server_name_of`` says nothing: clients may put
        there what they like.
        """
        identities = self.identities
        if server_name is None or not server_name.endswith(SERVER_NAMES):
            if len(identities) == 1:
                return next(iter(identities))
            raise CertificateError(
                f"{len(identities)} service accounts are at this address, and the client "
                "doesn't say which it wants (SNI)"
            )
        for identity in identities:
            if server_name_of(identity) == server_name:
                return identity
        raise CertificateError(f"nobody here is the one that the client wants: {server_name}")


class SharedEnd:
    """One client's connection to a shared place: to the members of one account there."""

    def __init__(self, place: SharedPlace) -> None:
        self.place = place
        self.netns = place.netns
        self.uid = place.name
        self.left = False
        self.refusal = ""
        #: Of the certificate that was shown; there once the handshake is done.
        self.identity: Identity

    def at(self, port: int) -> TunnelPod | None:
        """The member that has a port, if it is of the account that the client knows."""
        owner = self.place.owner_of(port)
        for pod in self.place.pods:
            if pod.source.workload == owner and pod.identity == self.identity:
                return pod
        return None

    async def server_context(self, credentials: Credentials) -> ssl.SSLContext:
        """A context that shows the certificate which the client's first message asks for."""
        known: dict[Identity, ssl.SSLContext | CertificateError] = {}

        async def find(identity: Identity) -> None:
            try:
                known[identity] = await credentials.server_context(identity)
            except CertificateError as error:
                known[identity] = error

        await asyncio.gather(*map(find, self.place.identities))

        def choose(server_name: str | None) -> ssl.SSLContext | None:
            try:
                self.identity = self.place.wanted(server_name)
                found = known.get(self.identity) or CertificateError("it came just now")
                if isinstance(found, CertificateError):
                    raise found
            except CertificateError as error:
                self.refusal = str(error)
                return None
            return found

        return choosing_context(choose)
