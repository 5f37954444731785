"""The cluster DNS of one node: sockets in the node's netns."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import cast

from deploy.standalone.config import MeshConfig
from deploy.standalone.runner.netns import NetnsThread
from deploy.standalone.runner.resolver import Resolver
from ztunnel_compat.runtime.tasks import Tasks

logger = logging.getLogger(__name__)

PORT = 53
#: Of one node: questions under way over UDP, and open TCP connections.
MAX_QUESTIONS = 512
MAX_CONNECTIONS = 128
IDLE = 10.0
BACKLOG = 64


class DnsServer:
    """Serves UDP and TCP on the cluster DNS address of a node.

    dropped counts questions and connections beyond the bounds.
    """

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver
        self.tasks = Tasks()
        self.transports: list[asyncio.DatagramTransport] = []
        self.servers: list[asyncio.Server] = []
        self.questions = 0
        self.connections = 0
        self.dropped = 0

    async def start(self, config: MeshConfig, thread: NetnsThread) -> None:
        """Open the sockets in the netns of the thread. Raises OSError."""
        for address in (str(config.dns_address4), str(config.dns_address6)):
            await self.listen(*await thread.call(open_sockets, address))

    async def listen(self, udp: socket.socket, tcp: socket.socket) -> None:
        """Serve a UDP and a TCP socket."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: Datagrams(self), sock=udp)
        self.transports.append(transport)
        self.servers.append(
            await asyncio.start_server(self.converse, sock=tcp, backlog=BACKLOG)
        )

    def drop(self, what: str) -> None:
        """Count what is beyond a bound; a line for the 1st, 2nd, 4th …"""
        self.dropped += 1
        if self.dropped & (self.dropped - 1) == 0:
            logger.warning("cluster DNS dropped %d so far, now %s", self.dropped, what)

    async def question(
        self, wire: bytes, peer: tuple[str, int], transport: asyncio.DatagramTransport
    ) -> None:
        """Answer one datagram."""
        try:
            answer = await self.resolver.resolve(wire, tcp=False)
            if answer is not None:
                transport.sendto(answer, peer)
        finally:
            self.questions -= 1

    async def converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer the questions of one TCP connection (RFC 7766), one by one."""
        if self.connections >= MAX_CONNECTIONS:
            self.drop("a connection")
            writer.close()
            return
        self.connections += 1
        try:
            while True:
                async with asyncio.timeout(IDLE):
                    size = int.from_bytes(await reader.readexactly(2), "big")
                    wire = await reader.readexactly(size)
                answer = await self.resolver.resolve(wire, tcp=True)
                if answer is None:
                    return
                writer.write(len(answer).to_bytes(2, "big") + answer)
                async with asyncio.timeout(IDLE):
                    await writer.drain()
        except (OSError, EOFError, TimeoutError):
            return
        finally:
            self.connections -= 1
            writer.close()

    async def close(self) -> None:
        """Close all sockets and drop what is under way."""
        for transport in self.transports:
            transport.close()
        for server in self.servers:
            server.close()
        await self.tasks.close()


class Datagrams(asyncio.DatagramProtocol):
    """Hands datagrams to the server, one short task each."""

    transport: asyncio.DatagramTransport

    def __init__(self, server: DnsServer) -> None:
        self.server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        # asyncio's own transport is no subclass of it before Python 3.12.
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Start answering, unless too much is under way."""
        server = self.server
        if server.questions >= MAX_QUESTIONS:
            server.drop("a question")
            return
        server.questions += 1
        server.tasks.spawn(server.question(data, addr, self.transport), "dns question")

    def error_received(self, exc: Exception) -> None:
        """Somebody who asked is no longer there."""
        logger.debug("cluster DNS: %s", exc)


def open_sockets(address: str) -> tuple[socket.socket, socket.socket]:
    """A UDP and a listening TCP socket on an address, in the calling thread's netns."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    udp = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    tcp = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for opened in (udp, tcp):
            opened.bind((address, PORT))
        tcp.listen(BACKLOG)
    except OSError:
        udp.close()
        tcp.close()
        raise
    return udp, tcp
