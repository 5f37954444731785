"""HBONE's server: from other workloads to what serves their target.

A client proves who it is by its certificate, then asks for connections by CONNECT.
Statuses are ztunnel's (src/proxy/inbound.rs): 400 for what can't be asked for, 404 for
what isn't of this waypoint, 503 for want of room; 200 once somebody serves it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Collection
from typing import Final

from waypoint.hbone.asked import Client, asked
from waypoint.hbone.connection import HboneConnection
from waypoint.hbone.transport import StreamTransport
from waypoint.server import BACKLOG, begin
from waypoint.sockets import NO_LINGER, listen
from waypoint.tunnelled import WorkloadAt
from waypoint.worker import Worker
from ztunnel_compat.certificates import verify_peer
from ztunnel_compat.credentials.credentials import Credentials
from ztunnel_compat.errors import CertificateError, HboneError
from ztunnel_compat.h2.codes import Role
from ztunnel_compat.h2.streams import Stream
from ztunnel_compat.hbone import (
    Baggage,
    ConnectRequest,
    Headers,
    address_of,
    parse_request,
    response_headers,
)
from ztunnel_compat.identity import Identity
from ztunnel_compat.session.settings import SERVED

logger = logging.getLogger(__name__)

HBONE_PORT: Final = 15008
#: TLS handshakes at a time, and seconds for one, for a certificate of ours too.
HANDSHAKES: Final = 512
HANDSHAKE: Final = 10.0
#: Connections at a time: a client's pool has up to a hundred streams on each.
CONNECTIONS: Final = 8192
#: Seconds that a client may take to end TLS when we have.
GOODBYE: Final = 1.0
#: Seconds without accepting, when there are no descriptors or there is no memory.
BREATH: Final = 0.1
SHORT_OF: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class ServerConnection(HboneConnection):
    """One client's connection."""

    client: Client

    def __init__(self, server: HboneServer) -> None:
        super().__init__(self.recognise, Role.SERVER, timing=SERVED)
        self.ended = lambda: server.ended(self)
        self.server = server

    def recognise(self, transport: asyncio.Transport) -> None:
        """See whose the certificate is; raises CertificateError for whom we don't know."""
        secured: ssl.SSLObject = transport.get_extra_info("ssl_object")
        certificate = secured.getpeercert(binary_form=True)
        identity = verify_peer(certificate, self.server.trust_domains)
        host, port = transport.get_extra_info("peername")[:2]
        self.client = Client(identity, address_of(host), port)

    def on_request(self, stream: Stream, headers: Headers, end: bool) -> None:
        """A client asks for a connection."""
        try:
            request = parse_request(headers)
        except HboneError as error:
            self.server.refuse(self, stream, 400, "bad_connect", str(error))
            return
        extra = {name: self.transport.get_extra_info(name) for name in ("peername", "sockname")}
        transport = StreamTransport(self, stream, extra)
        if end:
            transport.on_data(b"", True)
        self.server.take(Asking(self.server, self, transport, request))


class Asking(asyncio.Protocol):
    """A CONNECT that isn't answered yet."""

    __slots__ = ("connection", "deadline", "request", "server", "since", "tick", "transport")

    def __init__(
        self,
        server: HboneServer,
        connection: ServerConnection,
        transport: StreamTransport,
        request: ConnectRequest,
    ) -> None:
        self.server = server
        self.connection = connection
        self.transport = transport
        self.request = request
        self.since = server.worker.time()
        self.deadline = self.since + server.worker.limits.unknown
        self.tick = 0
        transport.set_protocol(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client didn't wait."""
        self.server.forget(self)

    def due(self, now: float) -> float | None:
        """Refuse what is still unknown after its time."""
        if now < self.deadline:
            return self.deadline
        limits = self.server.worker.limits
        if not self.server.informed() and now < self.since + limits.unheard:
            self.deadline = now + min(limits.unknown, 1.0)
            return self.deadline
        self.server.forget(self)
        self.refuse(404, "unknown_target")
        return None

    def refuse(self, status: int, reason: str) -> None:
        """Answer that there is nothing to be had."""
        stream = self.transport.stream
        self.server.refuse(self.connection, stream, status, reason, str(self.request.authority))


class HboneServer:
    """Listens on 15008, and hands streams to who serves their target.

    identity: the waypoint's own; trust_domains: of clients that are let in; baggage: what
    is said of the waypoint; workload_at and informed: as for the identity port.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        identity: Identity,
        credentials: Credentials,
        trust_domains: Collection[str],
        workload_at: WorkloadAt,
        informed: Callable[[], bool],
        baggage: Callable[[], Baggage] = Baggage,
    ) -> None:
        self.worker = worker
        self.identity = identity
        self.credentials = credentials
        self.trust_domains = trust_domains
        self.workload_at = workload_at
        self.informed = informed
        self.baggage = baggage
        self.listeners: list[socket.socket] = []
        #: Told when a connection ends.
        self.news = asyncio.Event()
        self.accepting: list[asyncio.Task[None]] = []
        self.connections: set[HboneConnection] = set()
        self.handshakes = 0
        self.waiting: set[Asking] = set()

    # Connections

    def listen(self, port: int = HBONE_PORT) -> int:
        """Listen on all IPv4 and IPv6 addresses; the port (for 0, a free one).

        Raises OSError when a port is taken; a system without IPv6 is fine.
        """
        for family in [socket.AF_INET] + [socket.AF_INET6] * socket.has_ipv6:
            listener = listen(family, port, BACKLOG)
            port = listener.getsockname()[1]
            self.listeners.append(listener)
            self.accepting.append(self.worker.tasks.spawn(self.accept(listener), "HBONE port"))
        return port

    async def accept(self, listener: socket.socket) -> None:
        """Take connections until cancelled."""
        loop = self.worker.loop
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno not in SHORT_OF:
                    raise
                logger.error("can't accept connections: %s; they wait", error)
                await asyncio.sleep(BREATH)
                continue
            if (
                self.handshakes >= HANDSHAKES
                or len(self.connections) + self.handshakes >= CONNECTIONS
            ):
                self.turn_away(connection, "limit", "")
                continue
            self.handshakes += 1
            self.worker.tasks.spawn(self.secure(connection), "TLS handshake")

    async def secure(self, connection: socket.socket) -> None:
        """Do the TLS handshake; from then on the connection serves itself."""
        made = ServerConnection(self)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            async with asyncio.timeout(HANDSHAKE):
                context = await self.credentials.server_context(self.identity)
                await self.worker.loop.connect_accepted_socket(
                    lambda: made,
                    connection,
                    ssl=context,
                    ssl_handshake_timeout=HANDSHAKE,
                    ssl_shutdown_timeout=GOODBYE,
                )
        except CertificateError as error:
            self.turn_away(connection, "no_certificate", str(error))
            return
        except (OSError, TimeoutError) as error:
            self.turn_away(connection, "tls", str(error))
            return
        finally:
            self.handshakes -= 1
        if made.refusal is not None:
            self.count("peer_identity", str(made.refusal))
        elif not made.closed:
            self.connections.add(made)
            if self.worker.draining:
                made.drain()

    def turn_away(self, connection: socket.socket, reason: str, details: str) -> None:
        """Reset a connection before it was one, and count why."""
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        except OSError:
            # It is gone already.
            pass
        connection.close()
        self.count(reason, details)

    def ended(self, connection: HboneConnection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        self.news.set()

    # Requests

    def take(self, asking: Asking) -> None:
        """Serve a request, have it wait until its target is known, or refuse it."""
        worker = self.worker
        if worker.draining:
            asking.refuse(503, "draining")
        elif full := worker.refuses(len(self.waiting)):
            asking.refuse(503, full)
        elif not self.admit(asking):
            if len(self.waiting) >= worker.limits.waiting:
                asking.refuse(503, "limit")
            else:
                self.waiting.add(asking)
                worker.wheel.set(asking, asking.deadline)

    def admit(self, asking: Asking) -> bool:
        """Answer and hand over, if it is known what it is for."""
        connection, transport = asking.connection, asking.transport
        found = asked(self.worker.targets, self.workload_at, connection.client, asking.request)
        if found is None:
            return False
        baggage = self.baggage().encode()
        connection.respond(transport.stream, response_headers(200, baggage))
        begin(self.worker, transport, *found)
        return True

    def retry(self) -> None:
        """Something was pushed: requests that waited for it can go on."""
        for asking in list(self.waiting):
            if self.admit(asking):
                self.forget(asking)

    def forget(self, asking: Asking) -> None:
        """It waits no more."""
        self.waiting.discard(asking)
        self.worker.wheel.remove(asking)

    def refuse(
        self,
        connection: ServerConnection,
        stream: Stream,
        status: int,
        reason: str,
        details: str,
    ) -> None:
        """Answer what comes to nothing, and count why."""
        stream.data = None
        connection.turn_down(stream, status)
        self.count(reason, f"{connection.client.identity}: {details}")

    def count(self, reason: str, details: str) -> None:
        """Note what wasn't served; a line for the 1st, 2nd, 4th …"""
        refused = self.worker.stats
        refused.refuse(reason)
        count = refused.refused[reason]
        if count & (count - 1) == 0:
            logger.warning("refused %d for %s, now %s", count, reason, details)

    # The end

    async def stop_accepting(self) -> None:
        """Take nothing new; clients are told, and go on with what they have."""
        self.worker.draining = True
        for task in self.accepting:
            task.cancel()
        await asyncio.gather(*self.accepting, return_exceptions=True)
        self.accepting.clear()
        for listener in self.listeners:
            listener.close()
        self.listeners.clear()
        for asking in list(self.waiting):
            self.forget(asking)
            asking.refuse(503, "draining")
        for connection in list(self.connections):
            connection.drain()

    async def close(self, seconds: float) -> None:
        """Let connections end whose streams are done, for so long; then break them off."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.connections:
                    self.news.clear()
                    await self.news.wait()
        for connection in list(self.connections):
            connection.abort("the waypoint stops")
