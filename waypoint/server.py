"""The identity port: who is calling and what for, before a byte is read.

A connection of this node's pods is told of by the kernel alone. One that came through
a tunnel was made by the node agent, as the kernel says too; it begins with a PROXY
header: whom the certificate at the tunnel's other end was of, and what was asked for.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import cast

from waypoint.detection import Undecided
from waypoint.metrics.labels import client_of
from waypoint.routing import Source
from waypoint.sockets import listen, reset, show_address
from waypoint.targets import Target
from waypoint.tcp import relay_to
from waypoint.tunnelled import asked_address, original, tunnelled
from waypoint.worker import Caller, Worker
from ztunnel_compat.errors import ProxyError
from ztunnel_compat.labels import workload_labels
from ztunnel_compat.model import AppProtocol, Workload
from ztunnel_compat.peer import FLOW_TUNNELLED, FLOW_WAYPOINT, Peer, encode_peer, parse_peer
from ztunnel_compat.proxy_protocol import ProxyHeader, parse_proxy

logger = logging.getLogger(__name__)

IDENTITY_PORT = 15088
BACKLOG = 4096
#: How often it is looked whether connections have ended, while draining.
DRAIN_LOOK = 0.1

#: What the kernel would say of each connection that a ztunnel makes, which it can't: that
#: a PROXY header follows. Only a port on loopback may take that on trust.
SANDWICHED = encode_peer(Peer(0, 0, bytes(16), 0, FLOW_TUNNELLED))

PeerQuery = Callable[[socket.socket], bytes | None]


class Arrival(asyncio.Protocol):
    """A connection that isn't anybody's yet.

    It becomes a Downstream or a Relay as soon as its source and target are known;
    the kernel's answer, and a tunnelled one's header, are all that decides that.
    """

    __slots__ = (
        "deadline", "early", "ended", "header", "peer", "server", "since", "tick", "transport",
    )  # fmt: skip

    transport: asyncio.Transport
    peer: Peer

    def __init__(self, server: IdentityServer) -> None:
        self.server = server
        self.header: ProxyHeader | None = None
        #: What came before reading could be paused, and the beginning of a header.
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
        full = worker.refuses(len(server.waiting))
        answer = server.peer_of(transport.get_extra_info("socket"))
        if full or answer is None:
            self.refuse(full or "no_peer")
            return
        self.peer = parse_peer(answer)
        if self.expects_header:
            self.wait(worker.limits.proxy)
        elif not self.peer.flags & FLOW_WAYPOINT:
            self.refuse("not_redirected")
        elif not server.admit(self):
            self.wait(worker.limits.unknown)
            worker.loop.call_soon(self.pause)

    @property
    def expects_header(self) -> bool:
        """Whether it has to tell yet who is at the tunnel's other end."""
        return bool(self.peer.flags & FLOW_TUNNELLED) and self.header is None

    def wait(self, seconds: float) -> None:
        """Be asked again within so many seconds, if there is room to wait."""
        server = self.server
        if self not in server.waiting and len(server.waiting) >= server.worker.limits.waiting:
            self.refuse("limit")
            return
        server.waiting.add(self)
        self.since = server.worker.time()
        self.deadline = self.since + seconds
        server.worker.wheel.set(self, self.deadline)

    def pause(self) -> None:
        """Read nothing while waiting; only possible after connection_made."""
        if self in self.server.waiting:
            self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Keep what came before reading was paused; a header comes first."""
        self.early += data
        if self in self.server.waiting and self.expects_header:
            self.read_header()

    def eof_received(self) -> bool:
        """The client may have said everything already, but for its header."""
        self.ended = True
        if self in self.server.waiting and self.expects_header:
            self.leave()
            self.refuse("proxy_header", "ended before its header did")
        return True

    def read_header(self) -> None:
        """Go on once the header is there; refuse what is none."""
        try:
            found = parse_proxy(self.early)
            if found is None:
                return
            if found[0].identity is None:
                raise ProxyError("names no identity")
        except ProxyError as error:
            self.leave()
            self.refuse("proxy_header", str(error))
            return
        self.header, size = found
        self.early = self.early[size:]
        if self.server.admit(self):
            self.leave()
        else:
            self.wait(self.server.worker.limits.unknown)
            self.pause()

    def connection_lost(self, exc: Exception | None) -> None:
        """It didn't wait."""
        self.leave()

    def leave(self) -> None:
        """Wait no more."""
        self.server.waiting.discard(self)
        self.server.worker.wheel.remove(self)

    def refuse(self, reason: str, details: str = "") -> None:
        """Reset the connection, and count why."""
        self.server.worker.stats.refuse(reason)
        peername = show_address(self.transport.get_extra_info("peername"))
        logger.warning("refused a connection from %s: %s %s", peername, reason, details)
        reset(self.transport)

    def due(self, now: float) -> float | None:
        """Refuse what is still unknown after its time."""
        if now < self.deadline:
            return self.deadline
        limits = self.server.worker.limits
        if self.expects_header:
            self.leave()
            self.refuse("proxy_timeout")
            return None
        if not self.server.informed() and now < self.since + limits.unheard:
            self.deadline = now + min(limits.unknown, 1.0)
            return self.deadline
        self.server.waiting.discard(self)
        known = self.header is None and self.server.worker.targets.find(self.peer)
        self.refuse("unknown_source" if known else "unknown_target")
        return None


class IdentityServer:
    """Accepts connections and hands them to who serves their target.

    peer_of asks the kernel about an accepted socket; source_of finds a workload by
    the hash of its uid, workload_at by its packed address; informed: whether the
    control plane is heard right now.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        peer_of: PeerQuery,
        source_of: Callable[[int], Workload | None],
        workload_at: Callable[[bytes], Workload | None],
        informed: Callable[[], bool],
    ) -> None:
        self.worker = worker
        self.informed = informed
        self.peer_of = peer_of
        self.source_of = source_of
        self.workload_at = workload_at
        self.waiting: set[Arrival] = set()
        self.servers: list[asyncio.Server] = []

    async def listen(self, port: int = IDENTITY_PORT, *, loopback: bool = False) -> int:
        """Listen on all IPv4 and IPv6 addresses; the port (for 0, a free one).

        loopback: on those of this network namespace's loopback alone.

        Raises OSError when a port is taken; a system without IPv6 is fine.
        """
        families = [socket.AF_INET] + [socket.AF_INET6] * socket.has_ipv6
        for family in families:
            listener = listen(family, port, BACKLOG, loopback=loopback)
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

    def admit(self, arrival: Arrival) -> bool:
        """Hand a connection over, if it is known who and what it is for."""
        if arrival.header is not None:
            return self.admit_tunnelled(arrival, arrival.header)
        peer = arrival.peer
        target = self.worker.targets.find(peer)
        source = self.source_of(peer.source)
        if target is None or source is None:
            return False
        remote = show_address(arrival.transport.get_extra_info("peername"))
        caller = Caller(
            peer,
            str(source.identity),
            f"{original(peer)} {remote} -",
            Source(source.namespace, workload_labels(source)),
            arrival.transport.get_extra_info("peername")[:2],
            asked_address(peer),
            client_of(source, source.identity, tunnelled=False),
        )
        self.hand_over(arrival, caller, target)
        return True

    def admit_tunnelled(self, arrival: Arrival, header: ProxyHeader) -> bool:
        """Hand a tunnelled connection over, if what it is for is known."""
        found = tunnelled(self.worker.targets, self.workload_at, header)
        if found is None:
            return False
        self.hand_over(arrival, *found)
        return True

    def hand_over(self, arrival: Arrival, caller: Caller, target: Target) -> None:
        """Make a connection its server's."""
        transport = arrival.transport
        protocol = begin(self.worker, transport, caller, target)
        if protocol is None:
            return
        if arrival.early:
            protocol.data_received(arrival.early)
        if arrival.ended and not protocol.eof_received():
            transport.close()

    def retry(self) -> None:
        """Something was pushed: connections that waited for it can go on."""
        for arrival in list(self.waiting):
            if not arrival.expects_header and self.admit(arrival):
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
        for undecided in list(worker.undecided):
            undecided.drain()
        for downstream in list(worker.downstreams):
            downstream.warn()
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


def begin(
    worker: Worker, transport: asyncio.Transport, caller: Caller, target: Target
) -> asyncio.Protocol | None:
    """Have a client's connection served; what serves it is its protocol now.

    None: no chain takes it, and it is closed.
    """
    if target.protocol is AppProtocol.TCP:
        relay = relay_to(worker, caller, target, transport)
        return None if relay is None else relay.client
    protocol = Undecided(worker, caller, target)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    transport.resume_reading()
    return protocol
