"""A small DNS server that answers as a test wants, over UDP and TCP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import dns.message
import dns.rcode
import dns.rrset

#: What a query is answered by: messages to send, in order.
Behaviour = Callable[[bytes, bool], list[bytes]]


def told(wire: bytes, tcp: bool) -> list[bytes]:
    """The ordinary answer: 9.9.9.9, and NXDOMAIN for names that begin with ``no``."""
    query = dns.message.from_wire(wire)
    made = dns.message.make_response(query, recursion_available=True)
    question = query.question[0]
    if question.name.to_text().startswith("no"):
        made.set_rcode(dns.rcode.NXDOMAIN)
    elif question.rdtype == dns.rdatatype.TXT:
        text = "over tcp" if tcp else "over udp"
        made.answer.append(dns.rrset.from_text(question.name, 60, "IN", "TXT", f'"{text}"'))
    else:
        made.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", "9.9.9.9"))
    return [made.to_wire()]


def silent(_wire: bytes, _tcp: bool) -> list[bytes]:
    return []


@dataclass
class ClusterDns(asyncio.DatagramProtocol):
    """asked: each message with its sender; held: answers wait while it is set."""

    behaviour: Behaviour = told
    asked: list[tuple[bytes, tuple[str, int], bool]] = field(default_factory=list)
    held: asyncio.Event | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked.append((data, addr, False))
        task = asyncio.ensure_future(self.reply(data, addr))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def reply(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.held:
            await self.held.wait()
        assert self.transport is not None
        for message in self.behaviour(data, False):
            self.transport.sendto(message, addr)

    async def converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                data = await reader.readexactly(size)
                self.asked.append((data, writer.get_extra_info("peername"), True))
                if self.held:
                    await self.held.wait()
                for message in self.behaviour(data, True):
                    writer.write(len(message).to_bytes(2, "big") + message)
        writer.close()


@contextlib.asynccontextmanager
async def serving(
    address: str = "127.0.0.1", port: int = 0, behaviour: Behaviour = told
) -> AsyncIterator[tuple[ClusterDns, int]]:
    """A server on a port of both protocols; with the port."""
    made = ClusterDns(behaviour)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        socket.socket(family, socket.SOCK_STREAM) as tcp,
        socket.socket(family, socket.SOCK_DGRAM) as udp,
    ):
        tcp.bind((address, port))
        port = tcp.getsockname()[1]
        udp.bind((address, port))
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: made, sock=udp)
        server = await asyncio.start_server(made.converse, sock=tcp)
        try:
            yield made, port
        finally:
            transport.close()
            server.close()
            for task in list(made.tasks):
                task.cancel()
