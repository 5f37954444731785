"""HBONE connections that wait to be used again.

A connection is made once for everybody who wants it at the same time. It takes up to
a hundred streams, then another is made. Large flows keep apart: a connection that one
of them is on is chosen only when no more may be made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from ztunnel_compat.runtime.tasks import Tasks
from ztunnel_compat.session.settings import CLIENT_STREAMS

#: Connections to one destination that large flows may have to themselves.
SPREAD: Final = 4
#: Connections in all; idle ones make room for new ones.
MOST_CONNECTIONS: Final = 8192


class ConnectError(Exception):
    """Why there is no connection."""

    def anew(self) -> ConnectError:
        """The same, for somebody else who waited."""
        return ConnectError(*self.args)


class Pooled(Protocol):
    """A client's connection, as a pool sees it: ``session.Session``, mostly."""

    heavy: int
    idle_since: float
    closed: bool
    ended: Callable[[], None]

    @property
    def usable(self) -> bool:
        """Whether another stream may be opened right now."""
        ...

    @property
    def open_streams(self) -> int:
        """Streams that aren't done."""
        ...

    @property
    def failure(self) -> ConnectError | None:
        """Why it is gone; None after an orderly end."""
        ...

    def drain(self) -> None:
        """Close it when its last stream is done."""
        ...

    def abort(self, why: str) -> None:
        """Break it off."""
        ...


K = TypeVar("K", bound=Hashable)
C = TypeVar("C", bound=Pooled)


@dataclass(slots=True)
class Group(Generic[C]):
    """The connections of one key, and who waits for another. made: under way."""

    connections: list[C] = field(default_factory=list)
    waiting: list[asyncio.Future[C]] = field(default_factory=list)
    made: int = 0


class Pool(Generic[K, C]):
    """Connections by what they are for.

    connect: makes one, its server's identity checked; raises ConnectError. fail: makes
    the pool's own. opened, failed, evicted, refused: how many so far; refused: for want
    of room.
    """

    def __init__(
        self,
        connect: Callable[[K], Awaitable[C]],
        tasks: Tasks,
        fail: Callable[[str], ConnectError],
        *,
        most: int = MOST_CONNECTIONS,
    ) -> None:
        self.connect = connect
        self.tasks = tasks
        self.fail = fail
        self.most = most
        self.groups: dict[K, Group[C]] = {}
        self.total = 0
        self.closed = False
        self.opened = self.failed = self.evicted = self.refused = 0

    def find(self, key: K) -> C | None:
        """A connection with room for a stream, to be used before anything is awaited.

        None when another has to be made: ``acquire``.
        """
        group = self.groups.get(key)
        if group is None:
            return None
        best: C | None = None
        for connection in group.connections:
            if connection.usable:
                if not connection.heavy:
                    return connection
                if best is None or connection.heavy < best.heavy:
                    best = connection
        if best is not None and len(group.connections) + group.made >= SPREAD:
            return best
        return None

    async def acquire(self, key: K) -> C:
        """``find``, or make one and wait for it; raises ConnectError."""
        while True:
            found = self.find(key)
            if found is not None:
                return found
            if self.closed:
                raise self.fail("this end is stopping")
            group = self.groups.setdefault(key, Group[C]())
            waiter: asyncio.Future[C]
            waiter = asyncio.get_running_loop().create_future()
            group.waiting.append(waiter)
            try:
                self.make(key, group)
                made = await waiter
            finally:
                if waiter in group.waiting:
                    group.waiting.remove(waiter)
                self.tidy(key)
            if made.closed and (failure := made.failure) is not None:
                # In TLS 1.3 a server looks at our certificate when all is done for us:
                # one that doesn't take it wouldn't take it the next time.
                raise failure

    def make(self, key: K, group: Group[C]) -> None:
        """Begin as many connections as those who wait will fill; raises ConnectError."""
        while group.made * CLIENT_STREAMS < len(group.waiting):
            if self.total >= self.most and not self.evict():
                self.refused += 1
                raise self.fail(f"{self.total} HBONE connections are in use already")
            group.made += 1
            self.total += 1
            self.tasks.spawn(self.bring(key, group), "HBONE connection")

    async def bring(self, key: K, group: Group[C]) -> None:
        """Make a connection; those who wait go on with it, or all fail with it."""
        try:
            connection = await self.connect(key)
        except ConnectError as error:
            self.failed += 1
            self.total -= 1
            group.made -= 1
            self.wake(group, error)
            self.tidy(key)
            return
        except BaseException:
            self.total -= 1
            group.made -= 1
            self.wake(group, self.fail("this end is stopping"))
            raise
        group.made -= 1
        self.opened += 1
        group.connections.append(connection)
        connection.ended = lambda: self.gone(key, group, connection)
        if connection.closed:
            self.gone(key, group, connection)
        self.wake(group, connection)

    def wake(self, group: Group[C], made: C | ConnectError) -> None:
        """Let those who wait go on, in the order in which they came."""
        waiting, group.waiting = group.waiting, []
        for waiter in waiting:
            if waiter.done():
                continue
            if isinstance(made, ConnectError):
                waiter.set_exception(made.anew())
            else:
                waiter.set_result(made)

    def gone(self, key: K, group: Group[C], connection: C) -> None:
        """A connection ended."""
        if connection in group.connections:
            group.connections.remove(connection)
            self.total -= 1
        self.tidy(key)

    def tidy(self, key: K) -> None:
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

    def connections(self) -> Iterator[C]:
        """All of them."""
        for group in self.groups.values():
            yield from group.connections

    def of(self, key: K) -> list[C]:
        """The connections of a key."""
        return list(self.groups[key].connections)

    def drain(self) -> None:
        """Make no more; close each connection when its last stream is done."""
        self.closed = True
        for connection in list(self.connections()):
            connection.drain()

    def close(self, why: str) -> None:
        """Break off everything."""
        self.closed = True
        for connection in list(self.connections()):
            connection.abort(why)
