"""What all connections of one process share."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from waypoint.access_log import Clock
from waypoint.filters.local_limit.shared import Buckets
from waypoint.filters.plugin.plugins import Plugins
from waypoint.ids import RequestIds
from waypoint.layers.memo import HeadMemo
from waypoint.layers.response import ResponseHead
from waypoint.log_writer import LogWriter
from waypoint.metrics.labels import NO_CLIENT, Client
from waypoint.metrics.recorder import Recorder
from waypoint.overload import SCALE, Level
from waypoint.plan import Plan
from waypoint.resilience.replay import ReplayPool
from waypoint.routing import NOBODY, Facts, Source
from waypoint.routing.templates import Address
from waypoint.stats import Stats
from waypoint.targets import Targets
from waypoint.timers import Wheel
from ztunnel_compat.peer import Peer
from ztunnel_compat.runtime.tasks import Tasks

if TYPE_CHECKING:
    from waypoint.detection import Undecided
    from waypoint.downstream import Downstream
    from waypoint.filters.jwt.keeper import Keeper
    from waypoint.http2.downstream import Http2Downstream
    from waypoint.http2.grpc import GrpcExchange
    from waypoint.http2.wire import Wire
    from waypoint.tcp import Relay


P = TypeVar("P", bound=asyncio.Protocol)

#: Between two looks at what metrics may forget.
TIDY_SECONDS = 60.0
#: With so many requests under way, what a turn brought about waits for the next one: what
#: shares a write shares its price.
MANY = 16


class Connect(Protocol):
    """Makes a connection to an endpoint, as ``loop.create_connection`` does."""

    async def __call__(
        self, factory: Callable[[], P], host: str, port: int, /
    ) -> tuple[asyncio.BaseTransport, P]:
        """The transport and its protocol; raises OSError. Whoever asks sets a time."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a peer may cost; times in seconds.

    Envoy's and Istio's defaults where they have one.
    """

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
    #: How long a client may let us wait for its body, or with a response that it asked
    #: for; Envoy's idle time of a stream.
    stalled: float = 300.0
    #: How long a connection may wait for xDS to tell who and what it is for; and
    #: while we hear nothing from the control plane, which its node may hear again
    #: before us: longer than a client's back-off and the time to connect.
    unknown: float = 5.0
    unheard: float = 20.0
    #: For the PROXY header of a tunnelled connection, which goes before everything.
    proxy: float = 5.0
    #: How long a client may say nothing until its connection counts as one where the
    #: server speaks first; for ports that say nothing of their protocol.
    detect: float = 0.1
    #: Bytes of pipelined requests that wait, per connection.
    pipelined: int = 64 * 1024
    #: Above this, a write buffer stops what fills it: with the one read that may have
    #: been under way then, it is no more than a stream may hold.
    write_buffer: int = 4 * 1024
    #: Clients at a time, those of them that wait for xDS, and requests.
    connections: int = 16384
    waiting: int = 1024
    requests: int = 32768

    @property
    def look(self) -> float:
        """Between two looks at a client's connection (see stalls)."""
        return min(self.head, self.stalled) / 4


@dataclass(frozen=True, slots=True)
class Caller:
    """Who made a connection, and how the access log shows the connection.

    peer: with target the hash of what is asked for; log: local and remote address;
    identity: the SPIFFE ID that the kernel or, through a tunnel, a certificate proved;
    source: what routes may ask of who that is; remote, local: the client's address and
    the one that it asked for; client: who it is, for metrics; states: of this connection's
    own rate limits, by their names' hashes.
    """

    peer: Peer
    identity: str
    log: str
    source: Source = NOBODY
    remote: Address | None = None
    local: Address | None = None
    client: Client = NO_CLIENT
    states: dict[int, int] = field(default_factory=dict, compare=False, repr=False)

    def facts(self, protocol: str) -> Facts:
        """What the values of headers may tell of the connection."""
        return Facts(protocol, self.remote, self.local, self.identity)


class Worker:
    """The shared parts, and the connections that are up.

    buckets: of rate limits, which other processes may share; connect: makes connections
    to endpoints, by default plain ones.
    """

    __slots__ = (
        "active",
        "buckets",
        "calls",
        "clock",
        "connect",
        "dirty",
        "downstreams",
        "draining",
        "ids",
        "jwks",
        "level",
        "limits",
        "log",
        "loop",
        "memo",
        "plugins",
        "random",
        "recorder",
        "relays",
        "replays",
        "responses",
        "room",
        "scale",
        "stats",
        "targets",
        "tasks",
        "tidied",
        "time",
        "undecided",
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
        buckets: Buckets,
        connect: Connect | None = None,
    ) -> None:
        self.loop = loop
        self.tasks = tasks
        self.targets = targets
        self.log = log
        self.stats = stats
        self.limits = limits
        self.buckets = buckets
        self.connect = connect or loop.create_connection
        self.time = loop.time
        self.random = random.random
        self.clock = Clock()
        self.ids = RequestIds(random.SystemRandom().getrandbits)
        self.memo: HeadMemo[Plan] = HeadMemo()
        self.responses: HeadMemo[ResponseHead] = HeadMemo()
        self.replays = ReplayPool()
        self.recorder = Recorder()
        self.plugins = Plugins(loop, tasks)
        self.wheel = Wheel(loop.time())
        self.downstreams: set[Downstream | Http2Downstream] = set()
        #: Connections whose protocol isn't known yet.
        self.undecided: set[Undecided] = set()
        #: Connections with something to write at the end of this turn.
        self.dirty: list[Wire] = []
        self.relays: set[Relay] = set()
        #: gRPC's requests under way, whose messages count while they last.
        self.calls: set[GrpcExchange] = set()
        self.draining = False
        #: When it was last looked what metrics may forget.
        self.tidied = loop.time()
        #: Who fetches the keys that tokens are verified with.
        self.jwks: Keeper | None = None
        #: Requests under way, and how many there may be for now.
        self.active = 0
        self.room = limits.requests
        #: How loaded this process is, and what is left of the times that peers have.
        self.level = Level.CALM
        self.scale = 1.0

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self.downstreams) + len(self.relays) + len(self.undecided)

    def refuses(self, waiting: int) -> str:
        """Why no further connection is taken on, or nothing; waiting: for xDS."""
        there_are = self.connections + waiting
        if there_are >= self.limits.connections:
            return "limit"
        # What the allocator keeps for itself mustn't lock everybody out.
        return "overload" if self.level is Level.FULL and there_are else ""

    def set_level(self, level: Level) -> None:
        """Act on another load: see overload."""
        self.stats.level(level.name.lower())
        self.level = level
        # One request at a time goes through whatever memory says: as with connections.
        self.room = 1 if level is Level.FULL else self.limits.requests
        self.scale = 1.0 if level is Level.CALM else SCALE
        if level is not Level.CALM:
            now = self.time()
            for downstream in self.downstreams:
                self.wheel.set(downstream, now)

    def flush_soon(self, wire: Wire) -> None:
        """Have a connection written to at the end of this turn, together with others; of
        the next, where much is under way: what arrives meanwhile goes out with it.
        """
        if not self.dirty:
            self.loop.call_soon(self.look_again if self.active >= MANY else self.flush)
        self.dirty.append(wire)

    def look_again(self) -> None:
        """Let the loop read once more, without waiting, and write then."""
        self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what this turn brought about."""
        dirty, self.dirty = self.dirty, []
        for wire in dirty:
            wire.flush()

    def pushed(self) -> None:
        """The mesh has changed: what was remembered of routes isn't worth its memory, and
        bytes that policies let through no more are broken off.
        """
        self.recorder.renew()
        if self.jwks is not None:
            self.jwks.follow()
        self.plugins.sync(self.targets.plugins())
        self.forget()
        for relay in list(self.relays):
            relay.pushed()

    def forget(self) -> None:
        """Have requests decided anew, whose like were seen before."""
        for downstream in self.downstreams:
            downstream.forget()

    def tick(self) -> None:
        """Once a second: deadlines, and targets that have left."""
        now = self.time()
        self.wheel.advance(now)
        if now >= self.tidied + TIDY_SECONDS:
            self.tidied = now
            self.recorder.forget(now)
        self.targets.clusters.advance()
        gone = set(self.targets.expire())
        if gone:
            for downstream in [d for d in self.downstreams if d.number in gone]:
                downstream.drain()
