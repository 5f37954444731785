"""Enrolment, the side that knows the pods: what istio-cni is in a cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import socket
from dataclasses import dataclass, field
from pathlib import Path

from ztunnel_compat.drivers.seqpacket import Packet, SeqPacket, ready, watched
from ztunnel_compat.errors import ZdsError
from ztunnel_compat.zds import (
    MAX_MESSAGE,
    AddWorkload,
    DelWorkload,
    Request,
    SnapshotSent,
    decode_ack,
    decode_hello,
    encode_request,
)

logger = logging.getLogger(__name__)

#: A node agent that doesn't answer for so long, in seconds, is hung up on.
ANSWER_TIMEOUT = 10.0
#: Seconds until a pod that was enrolled before and is refused now is told of again.
RETRY = 1.0
BACKLOG = 4


@dataclass(eq=False, slots=True)
class Entry:
    """A pod of the set: its namespace's descriptor, ours, and who waits for it.

    acked: its AddWorkload was answered; gone: its DelWorkload was, or nobody is
    connected who knows it.
    """

    workload: AddWorkload
    netns_fd: int
    acked: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    gone: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class ZdsServer:
    """Keeps a node agent told of a set of pods, whichever way they come and go.

    The set is the truth and a connection a way to tell it: add and remove change
    the set, and whoever is connected, or connects next, is brought up to it. One
    node agent at a time: a new connection takes over from an old one. A pod that a
    node agent refuses after an earlier one took it stays in the set, and is told of
    again every ``RETRY`` seconds: nobody else would ask for it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, Entry] = {}
        self.told: dict[str, Entry] = {}
        self.refused: set[str] = set()
        self.changed = asyncio.Event()
        self.connected = False

    async def add(self, workload: AddWorkload, netns_fd: int) -> None:
        """Add a pod, or give a known uid a new namespace; returns after the ack.

        netns_fd stays the caller's. Waits while no node agent is connected.
        Raises ZdsError when the node agent refuses, or the names are too long to
        be sent; the pod isn't in the set then, nor when this is cancelled.
        """
        encode_request(workload)
        entry = Entry(workload, os.dup(netns_fd))
        self.drop(workload.uid)
        self.entries[workload.uid] = entry
        self.changed.set()
        try:
            await entry.acked
        except (ZdsError, asyncio.CancelledError):
            if self.entries.get(workload.uid) is entry:
                self.drop(workload.uid)
            raise

    async def remove(self, uid: str) -> None:
        """Take a pod out of the set; returns after the ack, or when nobody knows it."""
        entry = self.told.get(uid)
        self.drop(uid)
        if entry is not None:
            await asyncio.shield(entry.gone)

    def drop(self, uid: str) -> None:
        """Take a pod out of the set; whoever still waits for it is told so."""
        entry = self.entries.pop(uid, None)
        if entry is None:
            return
        os.close(entry.netns_fd)
        if not entry.acked.done():
            entry.acked.set_exception(ZdsError(f"{uid} was removed before it was enrolled"))
            entry.acked.exception()  # Seen: the one who waits may be gone.
        self.changed.set()

    async def run(self) -> None:
        """Serve until cancelled. Raises OSError when the path is taken."""
        listener = listen(self.path)
        try:
            while True:
                await ready(listener, writing=False)
                connection = SeqPacket(listener.accept()[0], MAX_MESSAGE)
                try:
                    reason = await self.serve(connection, listener)
                except TimeoutError:
                    reason = f"no answer within {ANSWER_TIMEOUT:g} s"
                except (OSError, ZdsError) as error:
                    reason = str(error)
                finally:
                    connection.close()
                    self.forget()
                logger.warning("node agent at %s: %s", self.path, reason)
        finally:
            listener.close()
            self.path.unlink(missing_ok=True)
            for uid in list(self.entries):
                self.drop(uid)

    async def serve(self, connection: SeqPacket, listener: socket.socket) -> str:
        """Keep one node agent told until the connection ends; why it did."""
        async with asyncio.timeout(ANSWER_TIMEOUT):
            hello = await connection.receive()
        if hello is None:
            return "left without a hello"
        hello.close()
        decode_hello(hello.data)
        self.connected = True
        await self.tell(connection)
        await self.ask(connection, SnapshotSent())
        logger.info("node agent at %s knows all %d pods", self.path, len(self.told))
        while True:
            self.changed.clear()
            await self.tell(connection)
            with watched((connection.connection, listener), self.changed.set):
                try:
                    async with asyncio.timeout(RETRY if self.refused else None):
                        await self.changed.wait()
                except TimeoutError:
                    self.tell_again()
            if (reason := ended(connection, listener)) is not None:
                return reason

    async def tell(self, connection: SeqPacket) -> None:
        """Send what differs between the set and what was told."""
        while True:
            stale = next((e for e in self.told.values() if not self.current(e)), None)
            if stale is not None:
                await self.ask(connection, DelWorkload(stale.workload.uid))
                del self.told[stale.workload.uid]
                stale.gone.set_result(None)
                continue
            fresh = next((e for u, e in self.entries.items() if u not in self.told), None)
            if fresh is None:
                return
            await self.introduce(connection, fresh)

    def tell_again(self) -> None:
        """Take back that the refused pods were told of."""
        for uid in self.refused:
            entry = self.told.get(uid)
            if entry is not None and self.current(entry):
                del self.told[uid]
        self.refused.clear()

    def current(self, entry: Entry) -> bool:
        """Whether an entry is still the one of its uid."""
        return self.entries.get(entry.workload.uid) is entry

    async def introduce(self, connection: SeqPacket, entry: Entry) -> None:
        """Tell of one pod and let who waits for it know the outcome."""
        self.told[entry.workload.uid] = entry
        if entry.gone.done():
            # Told before, to a node agent that has left since.
            entry.gone = asyncio.get_running_loop().create_future()
        # A copy: a removal may close the entry's own while the message waits.
        descriptor = os.dup(entry.netns_fd)
        try:
            error = await self.ask(connection, entry.workload, (descriptor,))
        finally:
            os.close(descriptor)
        if error:
            logger.error("%s was refused: %s", entry.workload, error)
        if entry.acked.done():
            if error:
                self.refused.add(entry.workload.uid)
            return
        if error:
            entry.acked.set_exception(ZdsError(f"{entry.workload.uid}: {error}"))
        else:
            entry.acked.set_result(None)

    async def ask(
        self, connection: SeqPacket, request: Request, descriptors: tuple[int, ...] = ()
    ) -> str:
        """Send a request and wait for its ack; the ack's error."""
        async with asyncio.timeout(ANSWER_TIMEOUT):
            await connection.send(encode_request(request), descriptors)
            packet = await connection.receive()
        if packet is None:
            raise ZdsError(f"left before it answered {request}")
        packet.close()
        if packet.descriptors:
            raise ZdsError(f"an ack of {request} with descriptors")
        return decode_ack(packet.data)

    def forget(self) -> None:
        """Nobody is connected: nobody knows of any pod."""
        self.connected = False
        self.refused.clear()
        for entry in self.told.values():
            if not entry.gone.done():
                entry.gone.set_result(None)
        self.told.clear()


def listen(path: Path) -> socket.socket:
    """Bind and listen; a dead process's socket is replaced. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        if path.is_socket() and not answers(path):
            path.unlink()
        listener.setblocking(False)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def answers(path: Path) -> bool:
    """Whether a process listens on a unix socket."""
    try:
        SeqPacket.connect(path, MAX_MESSAGE).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    return True


def ended(connection: SeqPacket, listener: socket.socket) -> str | None:
    """Why an idle connection must be given up, or None: go on."""
    try:
        packet: Packet | None = connection.take()
    except BlockingIOError:
        pass
    else:
        if packet is None:
            return "left"
        packet.close()
        raise ZdsError("an ack that nobody asked for")
    if pending(listener):
        return "another one connects"
    return None


def pending(listener: socket.socket) -> bool:
    """Whether somebody waits to be accepted."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))
