"""HBONE connections to workloads, used again while there is room for a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from waypoint.hbone.connection import HboneConnection
from waypoint.hbone.errors import BrokenError, TunnelError
from ztunnel_compat.identity import Identity
from ztunnel_compat.runtime.tasks import Tasks

#: Connections in all; idle ones make room for new ones.
MOST_CONNECTIONS: Final = 8192


@dataclass(frozen=True, slots=True)
class Key:
    """What may share a connection. identity: who must answer; host: as sockets take it."""

    host: str
    identity: Identity


#: Makes a connection, its server's identity checked; raises TunnelError.
Connect = Callable[[Key], Awaitable[HboneConnection]]


class Pool:
    """Connections by whom they lead to; one is made for all who want it at a time."""

    def __init__(self, connect: Connect, tasks: Tasks, *, most: int = MOST_CONNECTIONS) -> None:
        self.connect = connect
        self.tasks = tasks
        self.most = most
        self.connections: dict[Key, list[HboneConnection]] = {}
        self.making: dict[Key, asyncio.Task[TunnelError | None]] = {}
        self.total = 0
        self.opened = 0

    def find(self, key: Key) -> HboneConnection | None:
        """A connection with room for a stream, to be used before anything is awaited."""
        return next((c for c in self.connections.get(key, ()) if c.usable), None)

    async def acquire(self, key: Key) -> HboneConnection:
        """``find``, or make one and wait for it; raises TunnelError."""
        while True:
            found = self.find(key)
            if found is not None:
                return found
            task = self.making.get(key)
            if task is None:
                if self.total >= self.most and not self.evict():
                    raise BrokenError(f"{self.total} HBONE connections are in use already")
                self.total += 1
                task = self.making[key] = self.tasks.spawn(self.make(key), "HBONE connection")
            error = await asyncio.shield(task)
            if error is not None:
                # Each who waited gets an exception of its own.
                raise TunnelError(error.errno, error.strerror)

    async def make(self, key: Key) -> TunnelError | None:
        """Make a connection; why there is none."""
        connection: HboneConnection | None = None
        try:
            connection = await self.connect(key)
        except TunnelError as error:
            return error
        finally:
            del self.making[key]
            if connection is None:
                self.total -= 1
        self.opened += 1
        self.connections.setdefault(key, []).append(connection)
        connection.ended = lambda ended: self.gone(key, ended)
        if connection.closed:
            self.gone(key, connection)
            return BrokenError(connection.error)
        return None

    def gone(self, key: Key, connection: HboneConnection) -> None:
        """A connection ended."""
        connections = self.connections.get(key, [])
        if connection in connections:
            connections.remove(connection)
            self.total -= 1
            if not connections:
                del self.connections[key]

    def evict(self) -> bool:
        """Close the connection that has been idle for longest; whether there was one."""
        idle = [c for c in self.all() if c.idle_since and not c.http.open_streams]
        if not idle:
            return False
        min(idle, key=lambda connection: connection.idle_since).abort("it made room for others")
        return True

    def all(self) -> list[HboneConnection]:
        """All of them."""
        return [c for connections in self.connections.values() for c in connections]

    def close(self) -> None:
        """Break off everything."""
        for connection in self.all():
            connection.abort("the waypoint stops")
