"""HBONE connections that wait to be used again.

A connection is made once for everybody who wants it at the same time. It takes up to
a hundred streams, then another is made. Large flows keep apart: a connection that one
of them is on is chosen only when no more may be made.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from daemon.tunnel.connection import CLIENT_STREAMS, TunnelConnection
from daemon.tunnel.errors import ResponseFlag, TunnelError
from ztunnel_compat.identity import Identity
from ztunnel_compat.runtime.tasks import Tasks

logger = logging.getLogger(__name__)

#: Connections to one destination that large flows may have to themselves.
SPREAD: Final = 4
#: Connections in all; idle ones make room for new ones.
MOST_CONNECTIONS: Final = 8192


@dataclass(frozen=True, slots=True)
class PoolKey:
    """What may share a connection: who calls, who may answer, where, from which pod.

    pod: netns cookie; address: as ``socket`` takes it; identities: any of them may be
    the server's.
    """

    pod: int
    source: Identity
    identities: frozenset[Identity]
    address: str
    port: int


#: Makes a connection, its server's identity checked; raises TunnelError.
Connect = Callable[[PoolKey], Awaitable[TunnelConnection]]


@dataclass(slots=True)
class Group:
    """The connections of one key, and who waits for another. made: under way."""

    connections: list[TunnelConnection] = field(default_factory=list)
    waiting: list[asyncio.Future[TunnelConnection]] = field(default_factory=list)
    made: int = 0


class Pool:
    """Connections by what they are for.

    opened, failed, evicted, refused: how many so far; refused: for want of room.
    """

    def __init__(self, connect: Connect, tasks: Tasks, *, most: int = MOST_CONNECTIONS) -> None:
        self.connect = connect
        self.tasks = tasks
        self.most = most
        self.groups: dict[PoolKey, Group] = {}
        self.total = 0
        self.closed = False
        self.opened = self.failed = self.evicted = self.refused = 0

    def find(self, key: PoolKey) -> TunnelConnection | None:
        """A connection with room for a stream, to be used before anything is awaited.

        None when another has to be made: ``acquire``.
        """
        group = self.groups.get(key)
        if group is None:
            return None
        best: TunnelConnection | None = None
        for connection in group.connections:
            if connection.usable:
                if not connection.heavy:
                    return connection
                if best is None or connection.heavy < best.heavy:
                    best = connection
        if best is not None and len(group.connections) + group.made >= SPREAD:
            return best
        return None

    async def acquire(self, key: PoolKey) -> TunnelConnection:
        """``find``, or make one and wait for it; raises TunnelError."""
        while True:
            found = self.find(key)
            if found is not None:
                return found
            if self.closed:
                raise TunnelError(ResponseFlag.CONNECT, "the node agent is stopping")
            group = self.groups.setdefault(key, Group())
            waiter: asyncio.Future[TunnelConnection]
            waiter = asyncio.get_running_loop().create_future()
            group.waiting.append(waiter)
            try:
                self.make(key, group)
                made = await waiter
            finally:
                if waiter in group.waiting:
                    group.waiting.remove(waiter)
                self.tidy(key)
            if made.closed and made.error is not None:
                # In TLS 1.3 a server looks at our certificate when all is done for us:
                # one that doesn't take it wouldn't take it the next time.
                raise TunnelError(made.flag, made.error)

    def make(self, key: PoolKey, group: Group) -> None:
        """Begin as many connections as those who wait will fill; raises TunnelError."""
        while group.made * CLIENT_STREAMS < len(group.waiting):
            if self.total >= self.most and not self.evict():
                self.refused += 1
                raise TunnelError(
                    ResponseFlag.CONNECT, f"{self.total} tunnel connections are in use already"
                )
            group.made += 1
            self.total += 1
            self.tasks.spawn(self.bring(key, group), "tunnel connection")

    async def bring(self, key: PoolKey, group: Group) -> None:
        """Make a connection; those who wait go on with it, or all fail with it."""
        try:
            connection = await self.connect(key)
        except TunnelError as error:
            self.failed += 1
            self.total -= 1
            group.made -= 1
            self.wake(group, error)
            self.tidy(key)
            return
        except BaseException:
            self.total -= 1
            group.made -= 1
            self.wake(group, TunnelError(ResponseFlag.CONNECT, "the node agent is stopping"))
            raise
        group.made -= 1
        self.opened += 1
        group.connections.append(connection)
        connection.ended = lambda _: self.gone(key, group, connection)
        if connection.closed:
            self.gone(key, group, connection)
        self.wake(group, connection)

    def wake(self, group: Group, made: TunnelConnection | TunnelError) -> None:
        """Let those who wait go on, in the order in which they came."""
        waiting, group.waiting = group.waiting, []
        for waiter in waiting:
            if waiter.done():
                continue
            if isinstance(made, TunnelError):
                waiter.set_exception(TunnelError(made.flag, str(made)))
            else:
                waiter.set_result(made)

    def gone(self, key: PoolKey, group: Group, connection: TunnelConnection) -> None:
        """A connection ended."""
        if connection in group.connections:
            group.connections.remove(connection)
            self.total -= 1
        self.tidy(key)

    def tidy(self, key: PoolKey) -> None:
        """Forget a key that nothing is left of."""
        group = self.groups.get(key)
        if group is not None and not (group.connections or group.waiting or group.made):
            del self.groups[key]

    def evict(self) -> bool:
        """Close the connection that has been idle for longest; whether there was one."""
        idle = [c for c in self.connections() if not c.open_streams and not c.closed]
        if not idle:
            return False
        self.evicted += 1
        min(idle, key=lambda c: c.idle_since).abort("it made room for others")
        return True

    def connections(self) -> Iterator[TunnelConnection]:
        """All of them."""
        for group in self.groups.values():
            yield from group.connections

    def leave(self, pod: int) -> None:
        """A pod left: break off what it has."""
        self.break_off([c for key in self.groups if key.pod == pod for c in self.of(key)])

    def forget(self, source: Identity) -> None:
        """An identity has a new certificate: let connections with the old one run out."""
        for key in self.groups:
            if key.source == source:
                for connection in self.of(key):
                    connection.drain()

    def of(self, key: PoolKey) -> list[TunnelConnection]:
        """The connections of a key."""
        return list(self.groups[key].connections)

    def drain(self) -> None:
        """Make no more; close each connection when its last stream is done."""
        self.closed = True
        for connection in list(self.connections()):
            connection.drain()

    def close(self) -> None:
        """Break off everything."""
        self.closed = True
        self.break_off(list(self.connections()))

    def break_off(self, connections: Iterable[TunnelConnection]) -> None:
        """End connections at once."""
        for connection in connections:
            connection.abort("the pod left, or the node agent stops")
