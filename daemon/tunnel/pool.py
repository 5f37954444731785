"""HBONE connections to other nodes, by pod and by whom they lead to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from daemon.tunnel.connection import TunnelConnection
from daemon.tunnel.errors import ResponseFlag, TunnelError
from ztunnel_compat.identity import Identity
from ztunnel_compat.runtime.tasks import Tasks
from ztunnel_compat.session.pool import MOST_CONNECTIONS, Pool


@dataclass(frozen=True, slots=True)
class PoolKey:
    """What may share a connection: who calls, who may answer, where, from which pod.

    pod: netns cookie; address: as ``socket`` takes it; identities: any of them may be
    the server's; server_name: what to say in TLS that is wanted, if anything.
    """

    pod: int
    source: Identity
    identities: frozenset[Identity]
    address: str
    port: int
    server_name: str = ""


class TunnelPool(Pool[PoolKey, TunnelConnection]):
    """Connections of pods here; raises TunnelError where ``Pool`` raises ConnectError."""

    def __init__(
        self,
        connect: Callable[[PoolKey], Awaitable[TunnelConnection]],
        tasks: Tasks,
        *,
        most: int = MOST_CONNECTIONS,
    ) -> None:
        super().__init__(
            connect, tasks, lambda why: TunnelError(ResponseFlag.CONNECT, why), most=most
        )

    def leave(self, pod: int, source: Identity | None = None) -> None:
        """A pod left, or one identity of several there: break off what it has."""
        gone = [k for k in self.groups if k.pod == pod and source in (None, k.source)]
        for connection in [c for key in gone for c in self.of(key)]:
            connection.abort("the pod left")

    def forget(self, source: Identity) -> None:
        """An identity has a new certificate: let connections with the old one run out."""
        for key in self.groups:
            if key.source == source:
                for connection in self.of(key):
                    connection.drain()
