"""A SOCK_SEQPACKET unix socket with file descriptors, non-blocking."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ztunnel_compat.errors import ZdsError

#: One more than any message may carry, so that too many are seen as such.
MAX_DESCRIPTORS = 2
DESCRIPTOR = struct.Struct("=i")


@dataclass(frozen=True, slots=True)
class Packet:
    """One message and what rode on it; who takes it owns the descriptors."""

    data: bytes
    descriptors: tuple[int, ...] = ()

    def close(self) -> None:
        """Close the descriptors."""
        for descriptor in self.descriptors:
            os.close(descriptor)


class SeqPacket:
    """One end of a connection; messages are kept apart by the kernel."""

    def __init__(self, connection: socket.socket, size: int) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.size = size

    @classmethod
    def connect(cls, path: Path, size: int) -> SeqPacket:
        """Connect to a listening socket, size being the longest message in bytes.

        Immediate: a unix socket has no handshake. Raises OSError.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.setblocking(False)
            connection.connect(str(path))
        except BaseException:
            connection.close()
            raise
        return cls(connection, size)

    async def receive(self) -> Packet | None:
        """The next message, None at the end; raises ZdsError when it is too long."""
        while True:
            try:
                return self.take()
            except BlockingIOError:
                await ready(self.connection, writing=False)

    def take(self) -> Packet | None:
        """Like receive, but raises BlockingIOError instead of waiting."""
        # Not socket.recv_fds: Python 3.11's forgets the flags.
        data, ancillary, flags, _ = self.connection.recvmsg(
            self.size,
            socket.CMSG_LEN(MAX_DESCRIPTORS * DESCRIPTOR.size),
            socket.MSG_CMSG_CLOEXEC,
        )
        packet = Packet(data, tuple(rights(ancillary)))
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            packet.close()
            raise ZdsError(f"a message of over {self.size} bytes, or too many descriptors")
        return packet if data else None

    async def send(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send one message; raises OSError when the peer is gone."""
        while True:
            try:
                if descriptors:
                    socket.send_fds(self.connection, [data], descriptors)
                else:
                    self.connection.send(data)
                return
            except BlockingIOError:
                await ready(self.connection, writing=True)

    def close(self) -> None:
        """Close the connection; a second time does nothing."""
        self.connection.close()


def rights(ancillary: Sequence[tuple[int, int, bytes]]) -> Iterator[int]:
    """The descriptors among a message's ancillary data."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            whole = len(data) // DESCRIPTOR.size * DESCRIPTOR.size
            yield from (number for (number,) in DESCRIPTOR.iter_unpack(data[:whole]))


@contextmanager
def watched(sockets: Sequence[socket.socket], readable: Callable[[], None]) -> Iterator[None]:
    """Have readable called whenever one of some sockets has something to read."""
    loop = asyncio.get_running_loop()
    for each in sockets:
        loop.add_reader(each, readable)
    try:
        yield
    finally:
        for each in sockets:
            loop.remove_reader(each)


async def ready(connection: socket.socket, *, writing: bool) -> None:
    """Wait until a socket can be read from, or written to."""
    loop = asyncio.get_running_loop()
    happened: asyncio.Future[None] = loop.create_future()

    def note() -> None:
        if not happened.done():
            happened.set_result(None)

    if writing:
        loop.add_writer(connection, note)
    else:
        loop.add_reader(connection, note)
    try:
        await happened
    finally:
        if writing:
            loop.remove_writer(connection)
        else:
            loop.remove_reader(connection)
