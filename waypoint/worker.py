"""What all connections of one process share."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from waypoint.access_log import Clock
from waypoint.ids import RequestIds
from waypoint.layers.memo import HeadMemo
from waypoint.layers.response import ResponseHead
from waypoint.log_writer import LogWriter
from waypoint.plan import Plan
from waypoint.stats import Stats
from waypoint.targets import Targets
from waypoint.timers import Wheel
from ztunnel_compat.identity import Identity
from ztunnel_compat.model import Workload
from ztunnel_compat.peer import Peer
from ztunnel_compat.runtime.tasks import Tasks

if TYPE_CHECKING:
    from waypoint.downstream import Downstream
    from waypoint.tcp import Relay


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a peer may cost; times in seconds.

    Envoy's and Istio's defaults where they have one.
    """

    connect: float = 10.0
    #: Nothing moved on a client's connection for so long.
    idle: float = 3600.0
    #: From the first byte of a request's head to its last.
    head: float = 60.0
    #: A connection to an endpoint without a request.
    upstream_idle: float = 60.0
    #: How long we go on reading from a client that we have told to close.
    linger: float = 5.0
    #: What was written to a peer that reads no more is kept so long.
    flush: float = 60.0
    #: How long a connection may wait for xDS to tell who and what it is for; and
    #: while we hear nothing from the control plane, which its node may hear again
    #: before us: longer than the client's back-off.
    unknown: float = 5.0
    unheard: float = 20.0
    #: Bytes of pipelined requests that wait, per connection.
    pipelined: int = 64 * 1024
    #: Above this, a write buffer stops what fills it.
    write_buffer: int = 64 * 1024
    #: Clients at a time, and those of them that wait for xDS.
    connections: int = 16384
    waiting: int = 1024


@dataclass(frozen=True, slots=True)
class Caller:
    """Who made a connection, and how the access log shows the connection.

    log: local and remote address; identity: the SPIFFE ID the kernel proved.
    """

    peer: Peer
    identity: str
    log: str


class Worker:
    """The shared parts, and the connections that are up."""

    __slots__ = (
        "clock",
        "downstreams",
        "draining",
        "ids",
        "limits",
        "log",
        "loop",
        "memo",
        "random",
        "relays",
        "responses",
        "stats",
        "targets",
        "tasks",
        "time",
        "wheel",
    )

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        tasks: Tasks,
        targets: Targets,
        log: LogWriter,
        stats: Stats,
        limits: Limits,
    ) -> None:
        self.loop = loop
        self.tasks = tasks
        self.targets = targets
        self.log = log
        self.stats = stats
        self.limits = limits
        self.time = loop.time
        self.random = random.random
        self.clock = Clock()
        self.ids = RequestIds(random.SystemRandom().getrandbits)
        self.memo: HeadMemo[Plan] = HeadMemo()
        self.responses: HeadMemo[ResponseHead] = HeadMemo()
        self.wheel = Wheel(loop.time())
        self.downstreams: set[Downstream] = set()
        self.relays: set[Relay] = set()
        self.draining = False

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self.downstreams) + len(self.relays)

    def tick(self) -> None:
        """Once a second: deadlines, and targets that have left."""
        self.wheel.advance(self.time())
        gone = set(self.targets.expire())
        if gone:
            for downstream in [d for d in self.downstreams if d.number in gone]:
                downstream.drain()


def identity_of(workload: Workload) -> str:
    """A workload's SPIFFE ID."""
    return str(Identity(workload.trust_domain, workload.namespace, workload.service_account))
