"""HBONE connections to workloads, by whom they lead to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from waypoint.hbone.connection import HboneConnection
from waypoint.hbone.errors import BrokenError
from ztunnel_compat.identity import Identity
from ztunnel_compat.runtime.tasks import Tasks
from ztunnel_compat.session.pool import Pool


@dataclass(frozen=True, slots=True)
class Key:
    """What may share a connection. identity: who must answer; host: as sockets take it."""

    host: str
    identity: Identity


#: Raises TunnelError where ``Pool`` raises ConnectError.
HbonePool = Pool[Key, HboneConnection]


def make_pool(connect: Callable[[Key], Awaitable[HboneConnection]], tasks: Tasks) -> HbonePool:
    """A pool without connections."""
    return Pool(connect, tasks, BrokenError)
