"""Sockets inside pods' network namespaces, and what is done to them.

A socket belongs to the namespace that its thread was in when it was made; from then
on the event loop serves it as any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import struct
from collections.abc import Callable
from functools import cached_property
from typing import Final

from bpf import netns
from bpf.errors import NetnsError
from bpf.layout import Mark
from bpf.marks import Marks
from daemon.tunnel.poller import IN, OUT, Poller
from ztunnel_compat.peer import PEER_QUERY_LEVEL, PEER_QUERY_OPTION

logger = logging.getLogger(__name__)

KIND: Final = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
#: ztunnel's: seconds idle, seconds between probes, probes.
KEEPALIVE: Final = (180, 180, 9)
#: linger on, for zero seconds: close() sends a reset.
NO_LINGER: Final = struct.pack("ii", 1, 0)
#: Room for an answer of a newer kernel part than this one.
ANSWER_ROOM: Final = 128
#: Connections taken in one turn of the event loop, of each listener.
ACCEPTS: Final = 64
#: Seconds without accepting, when there are no descriptors or there is no memory.
BREATH: Final = 0.1
UNDER_WAY: Final = frozenset((errno.EINPROGRESS, errno.EALREADY))
SHORT_OF: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
#: That our own connections are to be left alone by the hooks.
OURS: Final = Mark()

#: The kernel's answer to who made an accepted connection; None: it doesn't know.
PeerQuery = Callable[[socket.socket], bytes | None]


class PodSockets:
    """Makes sockets in other namespaces from the event loop's thread.

    The descriptor of the thread's own namespace is kept: a socket takes two setns()
    more than one at home, about three microseconds.
    """

    def __init__(self, marks: Marks) -> None:
        self.marks = marks
        self.home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    @cached_property
    def poller(self) -> Poller:
        """What watches the sockets; of the event loop that first asks for it."""
        return Poller()

    def close(self) -> None:
        """Make no more, and watch those that there are no longer."""
        os.close(self.home)
        if "poller" in self.__dict__:
            self.poller.close()

    def open(
        self, netns_fd: int, family: socket.AddressFamily, mark: Mark = OURS
    ) -> socket.socket:
        """A non-blocking TCP socket in a namespace, marked; Nagle's algorithm is off.

        Raises OSError, NetnsError, KernelError.
        """
        made = self.make(netns_fd, family)
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.marks.set(made.fileno(), mark)
        except BaseException:
            made.close()
            raise
        return made

    def make(self, netns_fd: int, family: socket.AddressFamily) -> socket.socket:
        """A socket in a namespace, and nothing else."""
        try:
            netns.enter(netns_fd)
        except OSError as error:
            raise NetnsError(f"netns of fd {netns_fd} can't be entered: {error}") from None
        try:
            return socket.socket(family, KIND)
        finally:
            netns.enter(self.home)

    async def connect(
        self, netns_fd: int, address: str, port: int, mark: Mark = OURS
    ) -> socket.socket:
        """Connect from within a namespace to another node, with all our options.

        Waits for as long as the kernel tries.

        Raises OSError, NetnsError, KernelError.
        """
        begun = self.begin(netns_fd, address, port, mark)
        made = await begun.done() if isinstance(begun, Connecting) else begun
        tune(made)
        return made

    def begin(
        self, netns_fd: int, address: str, port: int, mark: Mark = OURS
    ) -> socket.socket | Connecting:
        """Begin to connect from within a namespace; a socket where that is all.

        It is for the namespace's own addresses, mostly: the kernel has both ends, and
        nothing between them has to be kept alive. Raises as ``connect``.
        """
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = self.open(netns_fd, family, mark)
        place = (address, port)
        number = made.connect_ex(place)
        if number == errno.EINPROGRESS:
            # Asked again, the kernel says how it went: by now it may know.
            number = made.connect_ex(place)
        if number in UNDER_WAY:
            return Connecting(self.poller, made)
        if number and number != errno.EISCONN:
            made.close()
            raise OSError(number, os.strerror(number))
        return made


class Connecting:
    """A socket whose connect() is under way."""

    def __init__(self, poller: Poller, connection: socket.socket) -> None:
        self.poller = poller
        self.socket = connection
        self.came: asyncio.Future[None] = poller.loop.create_future()
        poller.watch(connection.fileno(), OUT, self)

    def ready(self, events: int) -> None:
        """It is decided."""
        if events & ~IN and not self.came.done():
            self.came.set_result(None)

    async def done(self) -> socket.socket:
        """Wait for the connection, for as long as the kernel tries.

        Raises OSError; it is closed then, and where nobody waits any more.
        """
        try:
            await self.came
            number = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                raise OSError(number, os.strerror(number))
        except BaseException:
            self.close()
            raise
        self.poller.leave(self.socket.fileno())
        return self.socket

    def close(self) -> None:
        """Have it come to nothing."""
        self.poller.leave(self.socket.fileno())
        self.socket.close()


def tune(connection: socket.socket) -> None:
    """Set the options of connections that cross the network; a listener passes them on."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    idle, between, probes = KEEPALIVE
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, between)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, probes)


def reset(connection: socket.socket) -> None:
    """Close a connection so that its other end sees an error, not an end."""
    with contextlib.suppress(OSError):  # it is gone already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    connection.close()


def peer_of(connection: socket.socket) -> bytes | None:
    """The kernel's answer to who made this connection, or None: it doesn't know."""
    try:
        return connection.getsockopt(PEER_QUERY_LEVEL, PEER_QUERY_OPTION, ANSWER_ROOM)
    except OSError:
        return None


class Acceptor:
    """Hands each connection of a listening socket to ``take``, non-blocking.

    The listener isn't this one's: closing leaves it open, with what waits there.
    """

    def __init__(
        self, poller: Poller, listener: socket.socket, take: Callable[[socket.socket], None]
    ) -> None:
        self.poller = poller
        self.listener = listener
        self.take = take
        self.closed = False
        #: How many to take this turn: one more than there are costs a system call.
        self.most = 1
        poller.watch(listener.fileno(), IN, self)

    def close(self) -> None:
        """Accept no more."""
        if not self.closed:
            self.closed = True
            self.poller.leave(self.listener.fileno())

    def ready(self, events: int) -> None:
        """Take what has arrived, but not all at once."""
        most = self.most
        self.most = min(2 * most, ACCEPTS)
        for count in range(most):
            try:
                connection, _ = self.listener.accept()
            except BlockingIOError:
                self.most = max(1, count)
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno not in SHORT_OF:
                    raise
                self.breathe(error)
                return
            connection.setblocking(False)
            self.take(connection)
            if self.closed:
                return

    def breathe(self, error: OSError) -> None:
        """Let connections wait in the kernel for a moment."""
        logger.error("can't accept connections: %s; they wait", error)
        self.poller.leave(self.listener.fileno())
        self.poller.loop.call_later(BREATH, self.again)

    def again(self) -> None:
        """Go on accepting."""
        if not self.closed:
            self.poller.watch(self.listener.fileno(), IN, self)
