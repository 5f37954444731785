"""From the waypoint to endpoints: by HBONE to workloads that take it, plainly to others.

What is connected by HBONE has proven to be the workload that xDS names; a workload that
takes HBONE is never connected to in another way.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, TypeVar

from waypoint.hbone.connection import HboneConnection
from waypoint.hbone.errors import BrokenError, RefusedError, TunnelError, UnprovenError
from waypoint.hbone.pool import Key, make_pool
from waypoint.hbone.server import GOODBYE, HBONE_PORT
from waypoint.hbone.transport import StreamTransport
from waypoint.sockets import show_address
from waypoint.tunnelled import WorkloadAt
from ztunnel_compat.certificates import verify_peer
from ztunnel_compat.credentials.credentials import Credentials
from ztunnel_compat.errors import CertificateError, HboneError
from ztunnel_compat.h2.codes import ErrorCode
from ztunnel_compat.h2.streams import Stream
from ztunnel_compat.hbone import (
    Baggage,
    Headers,
    parse_response,
    request_headers,
    traceparent_of,
)
from ztunnel_compat.identity import Identity
from ztunnel_compat.model import TunnelProtocol, Workload
from ztunnel_compat.runtime.tasks import Tasks
from ztunnel_compat.session.settings import POOLED, Timing

logger = logging.getLogger(__name__)
P = TypeVar("P", bound=asyncio.Protocol)

#: Connections that are asked for one stream.
TRIES: Final = 3
#: Seconds for TCP and TLS together; ztunnel's.
CONNECT: Final = 10.0
ALPN: Final = "h2"


class Ask:
    """A stream until its answer is there; then it is a transport's."""

    stream: Stream

    def __init__(self, connection: HboneConnection) -> None:
        self.connection = connection
        self.answer: asyncio.Future[StreamTransport] = connection.loop.create_future()
        self.reused = bool(connection.heard)
        #: A connection that was there before may end just when it is used again. Nothing
        #: of the application's has left before an answer, so another may be asked.
        self.again = False

    def on_response(self, headers: Headers, end: bool) -> None:
        """The far side took the connection, or didn't."""
        try:
            status = parse_response(headers).status
        except HboneError as error:
            self.fail(BrokenError(str(error)))
            return
        if status < 200:
            return
        if status != 200:
            self.fail(RefusedError(status))
            return
        extra = {
            name: self.connection.transport.get_extra_info(name)
            for name in ("peername", "sockname")
        }
        transport = StreamTransport(self.connection, self.stream, extra)
        if end:
            transport.on_data(b"", True)
        if self.answer.done():
            transport.abort()
        else:
            self.answer.set_result(transport)

    def on_data(self, data: bytes | memoryview, end: bool) -> None:
        """HTTP/2 lets nothing through before an answer."""

    def on_reset(self, code: int, why: str) -> None:
        """The stream was reset before there was an answer."""
        self.again = code == ErrorCode.REFUSED_STREAM or (self.connection.over and self.reused)
        if not self.answer.done():
            self.answer.set_exception(BrokenError(why))

    def on_writable(self) -> None:
        """Nothing was written."""

    def on_tick(self, now: float) -> None:
        """Whoever asks has a time of its own."""

    def fail(self, error: TunnelError) -> None:
        """Want no more of it."""
        self.connection.reset(self.stream, ErrorCode.CANCEL)
        if not self.answer.done():
            self.answer.set_exception(error)


class Dialer:
    """Connects to endpoints.

    identity: the waypoint's own; baggage: what is said of it; workload_at: who has an
    address. failures: by where it leads, why the last attempt failed.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        credentials: Credentials,
        workload_at: WorkloadAt,
        tasks: Tasks,
        baggage: Callable[[], Baggage] = Baggage,
        timing: Timing = POOLED,
        port: int = HBONE_PORT,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.identity = identity
        self.credentials = credentials
        self.workload_at = workload_at
        self.baggage = baggage
        self.timing = timing
        self.port = port
        self.pool = make_pool(self.reach, tasks)
        self.failures: dict[str, str] = {}

    async def connect(
        self, factory: Callable[[], P], host: str, port: int
    ) -> tuple[asyncio.BaseTransport, P]:
        """As ``loop.create_connection``; raises OSError. Set a time for it."""
        workload = self.workload_at(ip_address(host).packed)
        if workload is None or workload.tunnel_protocol is not TunnelProtocol.HBONE:
            return await self.loop.create_connection(factory, host, port)
        transport = await self.ask(key_of(workload, host), port)
        protocol = factory()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        transport.resume_reading()
        return transport, protocol

    async def ask(self, key: Key, port: int) -> StreamTransport:
        """A stream that the workload's application has taken; raises TunnelError."""
        place = show_address((key.host, port))
        try:
            for _ in range(TRIES):
                ask = self.request(await self.pool.acquire(key), place)
                try:
                    transport = await ask.answer
                except asyncio.CancelledError:
                    ask.connection.reset(ask.stream, ErrorCode.CANCEL)
                    raise
                except BrokenError:
                    if ask.again:
                        continue
                    raise
                self.failures.pop(place, None)
                return transport
            raise BrokenError(f"{TRIES} connections ended as they were asked")
        except TunnelError as error:
            self.note(place, error)
            raise

    def request(self, connection: HboneConnection, place: str) -> Ask:
        """Ask for a connection."""
        ask = Ask(connection)
        host, port = connection.transport.get_extra_info("sockname")[:2]
        headers = request_headers(
            place,
            baggage=self.baggage().encode(),
            forwarded_for=show_address((host, port)),
            forwarded_host="",
            traceparent=traceparent_of(secrets.token_bytes(24)),
        )
        ask.stream = connection.request(headers, ask)
        return ask

    def note(self, place: str, error: TunnelError) -> None:
        """Say why there is no connection, unless that was said last, too."""
        why = error.strerror or str(error)
        if self.failures.get(place) != why:
            logger.warning("no connection to %s by HBONE: %s", place, why)
            self.failures[place] = why

    async def reach(self, key: Key) -> HboneConnection:
        """A new connection whose server is who it should be; raises TunnelError."""
        try:
            context = await self.credentials.client_context(self.identity)
        except CertificateError as error:
            raise UnprovenError(str(error)) from error
        made = HboneConnection(lambda t: check(t, key.identity), timing=self.timing)
        try:
            async with asyncio.timeout(CONNECT):
                await self.loop.create_connection(
                    lambda: made,
                    key.host,
                    self.port,
                    ssl=context,
                    server_hostname="",
                    ssl_shutdown_timeout=GOODBYE,
                )
        except ssl.SSLError as error:
            raise UnprovenError(f"TLS failed: {error.reason or error}") from error
        except TimeoutError as error:
            raise TunnelError(
                errno.ETIMEDOUT,
                "connection timed out, maybe a firewall or NetworkPolicy blocks port "
                f"{self.port}",
            ) from error
        except OSError as error:
            raise TunnelError(error.errno, f"port {self.port}: {error}") from error
        if made.refusal is not None:
            raise UnprovenError(str(made.refusal))
        return made


def key_of(workload: Workload, host: str) -> Key:
    """Where a workload's connections lead, and who must be there."""
    return Key(host, workload.identity)


def check(transport: asyncio.Transport, expected: Identity) -> None:
    """Raise CertificateError unless the server is who it should be, and speaks HTTP/2."""
    secured: ssl.SSLObject = transport.get_extra_info("ssl_object")
    verify_peer(secured.getpeercert(binary_form=True), {expected.trust_domain}, {expected})
    # ztunnel tolerates a server that says nothing.
    if secured.selected_alpn_protocol() not in (ALPN, None):
        raise CertificateError("it speaks no HTTP/2")
