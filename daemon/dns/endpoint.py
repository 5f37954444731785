"""One pod's DNS: its datagrams and its connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable
from typing import Any, Final, Protocol

from daemon.dns.messages import MAX_TCP
from daemon.dns.metrics import Bound
from daemon.dns.sockets import Sockets, divert
from ztunnel_compat.runtime.tasks import Tasks

logger = logging.getLogger(__name__)

#: Datagrams that are read before others get their turn.
TURN: Final = 32
#: A query is a name and some options; whoever sends more doesn't ask a question.
MAX_QUERY: Final = 4096
CONNECTIONS: Final = 32
#: Seconds that a connection may be silent, or leave an answer unread.
IDLE: Final = 10.0
#: Seconds for a query that is on its way over an open connection when we end.
LINGER: Final = 0.1
#: Seconds until connections are taken again after the process ran out of files.
EXHAUSTED: Final = 1.0


class Pod(Protocol):
    """What an endpoint needs to know of its pod and of the node."""

    def respond(self, wire: bytes, *, tcp: bool) -> bytes | Awaitable[bytes | None] | None:
        """The reply to a message, at once or later; None: no reply."""
        ...

    def refuse(self, bound: Bound) -> None:
        """Count what wasn't done for a bound."""
        ...


class Endpoint:
    """Serves the sockets of one pod.

    connections: each one's task, and whether it is at work on a query.
    """

    def __init__(self, pod: Pod, sockets: Sockets, tasks: Tasks) -> None:
        self.pod = pod
        self.sockets = sockets
        self.tasks = tasks
        self.waiting = 0
        self.connections: dict[asyncio.Task[Any], bool] = {}
        self.closing = False
        self.idle = asyncio.Event()
        self.idle.set()

    def start(self) -> None:
        """Begin to serve."""
        loop = asyncio.get_running_loop()
        for udp in self.sockets.udp:
            loop.add_reader(udp, self.readable, udp)
        for tcp in self.sockets.tcp:
            loop.add_reader(tcp, self.acceptable, tcp)

    def readable(self, udp: socket.socket) -> None:
        """Take what has come, up to a turn's worth."""
        for _ in range(TURN):
            if not self.take_datagram(udp):
                return

    def take_datagram(self, udp: socket.socket) -> bool:
        """Take one datagram; whether there was one."""
        try:
            wire, peer = udp.recvfrom(MAX_QUERY + 1)
        except OSError:  # nothing there, or an error that another turn gets past
            return False
        if len(wire) > MAX_QUERY:
            self.pod.refuse(Bound.SIZE)
            return True
        reply = self.pod.respond(wire, tcp=False)
        if isinstance(reply, bytes):
            self.send(udp, reply, peer)
        elif reply is not None:
            self.begin()
            self.tasks.spawn(self.send_later(udp, reply, peer), "DNS query")
        return True

    async def send_later(
        self, udp: socket.socket, reply: Awaitable[bytes | None], peer: Any
    ) -> None:
        """Reply to a datagram when the reply is there."""
        try:
            wire = await reply
            if wire is not None:
                self.send(udp, wire, peer)
        finally:
            self.end()

    def send(self, udp: socket.socket, reply: bytes, peer: Any) -> None:
        """Send a reply; one that can't be sent is lost, as datagrams may be."""
        with contextlib.suppress(OSError):
            udp.sendto(reply, peer)

    def begin(self) -> None:
        """Something is in flight."""
        self.waiting += 1
        self.idle.clear()

    def end(self) -> None:
        """It no longer is."""
        self.waiting -= 1
        if not self.waiting:
            self.idle.set()

    def acceptable(self, tcp: socket.socket) -> None:
        """Take the connections that have come."""
        try:
            while True:
                accepted, _ = tcp.accept()
                self.take_connection(accepted)
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:
            logger.warning("no DNS connections for a moment: %s", error)
            loop = asyncio.get_running_loop()
            loop.remove_reader(tcp)
            loop.call_later(EXHAUSTED, self.resume, tcp)

    def resume(self, tcp: socket.socket) -> None:
        """Take connections again."""
        if not self.closing:
            asyncio.get_running_loop().add_reader(tcp, self.acceptable, tcp)

    def take_connection(self, accepted: socket.socket) -> None:
        """Serve a connection, unless there are too many."""
        if len(self.connections) >= CONNECTIONS:
            self.pod.refuse(Bound.CONNECTIONS)
            accepted.close()
            return
        accepted.setblocking(False)
        self.begin()
        self.connections[self.tasks.spawn(self.converse(accepted), "DNS connection")] = False

    async def converse(self, accepted: socket.socket) -> None:
        """Answer the queries of one connection (RFC 7766), one after the other."""
        task = asyncio.current_task()
        assert task is not None
        writer = None
        try:
            reader, writer = await asyncio.open_connection(sock=accepted)
            while await self.exchange(reader, writer, task) and not self.closing:
                self.connections[task] = False
        except TimeoutError:
            self.pod.refuse(Bound.IDLE)
        except (OSError, EOFError):
            pass
        finally:
            del self.connections[task]
            (writer or accepted).close()
            self.end()

    async def exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        task: asyncio.Task[Any],
    ) -> bool:
        """One query and its answer; whether another may follow."""
        async with asyncio.timeout(IDLE):
            size = int.from_bytes(await reader.readexactly(2), "big")
            if size > MAX_QUERY:
                self.pod.refuse(Bound.SIZE)
                return False
            self.connections[task] = True
            wire = await reader.readexactly(size)
        reply = self.pod.respond(wire, tcp=True)
        if reply is not None and not isinstance(reply, bytes):
            reply = await reply
        if reply is None or len(reply) > MAX_TCP:
            return False
        async with asyncio.timeout(IDLE):
            writer.write(len(reply).to_bytes(2, "big") + reply)
            await writer.drain()
        return True

    async def stop(self, seconds: float) -> None:
        """Take nothing new, finish what has come, then close.

        seconds: how long to wait for what is in flight.
        """
        loop = asyncio.get_running_loop()
        self.closing = True
        for udp in self.sockets.udp:
            loop.remove_reader(udp)
            divert(udp)
            while self.take_datagram(udp):
                pass
        for tcp in self.sockets.tcp:
            loop.remove_reader(tcp)
            self.acceptable(tcp)
            tcp.close()
        await self.until_idle(LINGER)
        for task in [t for t, at_work in self.connections.items() if not at_work]:
            task.cancel()
        await self.until_idle(seconds)
        for task in list(self.connections):
            task.cancel()
        for udp in self.sockets.udp:
            udp.close()

    async def until_idle(self, seconds: float) -> None:
        """Wait until nothing is in flight, but not longer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.idle.wait()
