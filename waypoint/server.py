"""The identity port: who is calling and what for, before a byte is read."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable
from typing import cast

from waypoint.downstream import Downstream
from waypoint.sockets import listen, reset, show_address
from waypoint.targets import Target
from waypoint.tcp import Relay
from waypoint.worker import Caller, Worker, identity_of
from ztunnel_compat.model import AppProtocol, Workload
from ztunnel_compat.peer import FLOW_WAYPOINT, Peer, parse_peer

logger = logging.getLogger(__name__)

IDENTITY_PORT = 15088
BACKLOG = 4096
#: How often it is looked whether connections have ended, while draining.
DRAIN_LOOK = 0.1

PeerQuery = Callable[[socket.socket], bytes | None]


class Arrival(asyncio.Protocol):
    """A connection that isn't anybody's yet.

    It becomes a Downstream or a Relay as soon as its source and target are known;
    the kernel's answer is all that decides that, nothing the client sends.
    """

    __slots__ = ("deadline", "early", "ended", "peer", "server", "since", "tick", "transport")

    transport: asyncio.Transport

    def __init__(self, server: IdentityServer) -> None:
        self.server = server
        self.peer: Peer | None = None
        #: What came before reading could be paused.
        self.early = b""
        self.ended = False
        self.since = 0.0
        self.deadline = 0.0
        self.tick = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the kernel; hand over, wait, or refuse."""
        self.transport = transport = cast("asyncio.Transport", transport)
        server = self.server
        worker = server.worker
        full = worker.connections + len(server.waiting) >= worker.limits.connections
        answer = server.peer_of(transport.get_extra_info("socket"))
        if full or answer is None:
            self.refuse("limit" if full else "no_peer")
            return
        self.peer = parse_peer(answer)
        if not self.peer.flags & FLOW_WAYPOINT:
            self.refuse("not_redirected")
            return
        if server.admit(self, self.peer):
            return
        if len(server.waiting) >= worker.limits.waiting:
            self.refuse("limit")
            return
        server.waiting.add(self)
        self.since = worker.time()
        self.deadline = self.since + worker.limits.unknown
        worker.wheel.set(self, self.deadline)
        worker.loop.call_soon(self.pause)

    def pause(self) -> None:
        """Read nothing while waiting; only possible after connection_made."""
        if self in self.server.waiting:
            self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Keep what came before reading was paused."""
        self.early += data

    def eof_received(self) -> bool:
        """The client may have said everything already."""
        self.ended = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """It didn't wait."""
        self.leave()

    def leave(self) -> None:
        """Wait no more."""
        self.server.waiting.discard(self)
        self.server.worker.wheel.remove(self)

    def refuse(self, reason: str) -> None:
        """Reset the connection, and count why."""
        self.server.worker.stats.refuse(reason)
        peername = show_address(self.transport.get_extra_info("peername"))
        logger.warning("refused a connection from %s: %s", peername, reason)
        reset(self.transport)

    def due(self, now: float) -> float | None:
        """Refuse what is still unknown after its time."""
        if now < self.deadline:
            return self.deadline
        limits = self.server.worker.limits
        if not self.server.informed() and now < self.since + limits.unheard:
            self.deadline = now + min(limits.unknown, 1.0)
            return self.deadline
        self.server.waiting.discard(self)
        known = self.peer is not None and self.server.worker.targets.find(self.peer)
        self.refuse("unknown_source" if known else "unknown_target")
        return None


class IdentityServer:
    """Accepts connections and hands them to who serves their target.

    peer_of asks the kernel about an accepted socket; source_of finds a workload by
    the hash of its uid; informed: whether the control plane is heard right now.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        peer_of: PeerQuery,
        source_of: Callable[[int], Workload | None],
        informed: Callable[[], bool],
    ) -> None:
        self.worker = worker
        self.informed = informed
        self.peer_of = peer_of
        self.source_of = source_of
        self.waiting: set[Arrival] = set()
        self.servers: list[asyncio.Server] = []

    async def listen(self, port: int = IDENTITY_PORT) -> int:
        """Listen on all IPv4 and IPv6 addresses; the port (for 0, a free one).

        Raises OSError when a port is taken; a system without IPv6 is fine.
        """
        families = [socket.AF_INET] + [socket.AF_INET6] * socket.has_ipv6
        for family in families:
            listener = listen(family, port, BACKLOG)
            port = listener.getsockname()[1]
            server = await self.worker.loop.create_server(
                lambda: Arrival(self), sock=listener, backlog=BACKLOG
            )
            self.servers.append(server)
        return port

    @property
    def listening(self) -> bool:
        """Whether connections are accepted."""
        return bool(self.servers)

    def admit(self, arrival: Arrival, peer: Peer) -> bool:
        """Hand a connection over, if it is known who and what it is for."""
        target = self.worker.targets.find(peer)
        source = self.source_of(peer.source)
        if target is None or source is None:
            return False
        remote = show_address(arrival.transport.get_extra_info("peername"))
        caller = Caller(peer, identity_of(source), f"{original(peer)} {remote} -")
        self.hand_over(arrival, caller, target)
        return True

    def hand_over(self, arrival: Arrival, caller: Caller, target: Target) -> None:
        """Make a connection its server's."""
        transport = arrival.transport
        if target.protocol is not AppProtocol.HTTP11:
            relay = Relay(self.worker, caller, target.sole_cluster)
            relay.start(transport)
            protocol: asyncio.Protocol = relay.client
        else:
            protocol = Downstream(self.worker, caller, target)
            transport.set_protocol(protocol)
            protocol.connection_made(transport)
            transport.resume_reading()
        if arrival.early:
            protocol.data_received(arrival.early)
        if arrival.ended and not protocol.eof_received():
            transport.close()

    def retry(self) -> None:
        """Something was pushed: connections that waited for it can go on."""
        for arrival in list(self.waiting):
            if arrival.peer is not None and self.admit(arrival, arrival.peer):
                arrival.leave()

    async def drain(self, seconds: float, idle: float = 1.0) -> None:
        """Accept no more, finish what is under way, within so many seconds.

        A client's next request within idle seconds is still answered, and told
        that the connection ends; then connections without a request are closed.
        """
        worker = self.worker
        worker.draining = True
        for server in self.servers:
            server.close()
        self.servers.clear()
        for arrival in list(self.waiting):
            arrival.leave()
            arrival.refuse("draining")
        start = worker.time()
        while worker.connections and worker.time() - start < seconds:
            if worker.time() - start >= idle:
                for downstream in list(worker.downstreams):
                    downstream.drain()
            await asyncio.sleep(DRAIN_LOOK)
        for downstream in list(worker.downstreams):
            downstream.transport.abort()
        for relay in list(worker.relays):
            relay.break_off("-")


def original(peer: Peer) -> str:
    """The address that the client asked for, as the access log shows it."""
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    address = ipaddress.IPv6Address(peer.original_address)
    address = address.ipv4_mapped or address
    return show_address((str(address), peer.original_port))
