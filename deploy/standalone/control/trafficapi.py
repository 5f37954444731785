"""Istio's traffic objects as frozen values: VirtualService and DestinationRule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deploy.standalone.control.objects import Key, Labels
from deploy.standalone.control.problems import Origin
from deploy.standalone.control.routing import RouteRule, StreamRule

#: exportTo, in Istio's words.
EVERYONE, OWN = "*", "."


@dataclass(frozen=True, slots=True)
class VirtualService:
    """Rules for what is asked of hosts: full names, or *. and the end of some.

    visible: namespaces whose requests it is for, () for all.
    """

    namespace: str
    name: str
    hosts: tuple[str, ...]
    visible: tuple[str, ...]
    http: tuple[RouteRule, ...]
    tls: tuple[StreamRule, ...]
    tcp: tuple[StreamRule, ...]
    origin: Origin = field(compare=False)

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key("VirtualService", self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Hashing:
    """What of a request decides where it goes. kind: header, query, cookie or source.

    lifetime: seconds that a cookie made here lasts, 0 for the session, None for none
    made; maglev: instead of a ring; size: of ring or table, 0 for the default.
    """

    kind: str
    name: str = ""
    path: str = ""
    lifetime: float | None = None
    maglev: bool = False
    size: int = 0


@dataclass(frozen=True, slots=True)
class Warmup:
    """How a new endpoint gets its share little by little. duration: seconds."""

    duration: float
    minimum_percent: float = 10.0
    aggression: float = 1.0


@dataclass(frozen=True, slots=True)
class LocalityRule:
    """Which endpoints come first. distribute: from → to → percent; failover: from → to.

    priority: labels of endpoints that are compared with the client's.
    """

    enabled: bool = True
    distribute: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()
    failover: tuple[tuple[str, str], ...] = ()
    priority: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Balancer:
    """How an endpoint is chosen. simple: in Istio's words."""

    simple: str = "LEAST_REQUEST"
    hashing: Hashing | None = None
    locality: LocalityRule | None = None
    warmup: Warmup | None = None


@dataclass(frozen=True, slots=True)
class Keepalive:
    """TCP keep-alive; 0 for the system's."""

    probes: int = 0
    time: float = 0.0
    interval: float = 0.0


@dataclass(frozen=True, slots=True)
class Pool:
    """Bounds on connections and requests; None for unbounded. Times in seconds.

    upgrade: HTTP/2 to a port that is said to speak HTTP/1.1.
    """

    connections: int | None = None
    pending: int | None = None
    requests: int | None = None
    retries: int | None = None
    requests_per_connection: int | None = None
    streams: int | None = None
    connect_timeout: float | None = None
    idle_timeout: float | None = None
    tcp_idle_timeout: float | None = None
    max_duration: float | None = None
    keepalive: Keepalive | None = None
    upgrade: bool = False
    client_protocol: bool = False


@dataclass(frozen=True, slots=True)
class Outliers:
    """When an endpoint is left out for a while; None for Envoy's own. Seconds, percent."""

    consecutive_5xx: int | None = None
    consecutive_gateway: int | None = None
    split_local: bool = False
    consecutive_local: int | None = None
    interval: float | None = None
    ejection: float | None = None
    max_percent: int | None = None
    min_health_percent: int = 0


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """How connections to a host are made; None where nothing is said. ports: by number."""

    balancer: Balancer | None = None
    pool: Pool | None = None
    outliers: Outliers | None = None
    ports: Mapping[int, TrafficPolicy] = field(default_factory=dict)

    def over(self, wider: TrafficPolicy) -> TrafficPolicy:
        """This one where it says something, and the wider one where it doesn't."""
        return TrafficPolicy(
            self.balancer or wider.balancer,
            self.pool or wider.pool,
            self.outliers or wider.outliers,
            {**wider.ports, **self.ports},
        )

    def at(self, port: int) -> TrafficPolicy:
        """What holds at a port: Istio lets its settings inherit nothing."""
        return self.ports.get(port, self)


@dataclass(frozen=True, slots=True)
class Subset:
    """Those endpoints of a host that have the labels."""

    name: str
    labels: Labels
    policy: TrafficPolicy = TrafficPolicy()


@dataclass(frozen=True, slots=True)
class DestinationRule:
    """How a host is reached. host: a full name, or *. and the end of some.

    visible: namespaces that it is for, () for all.
    """

    namespace: str
    name: str
    host: str
    policy: TrafficPolicy
    subsets: tuple[Subset, ...]
    visible: tuple[str, ...]
    origin: Origin = field(compare=False)

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key("DestinationRule", self.namespace, self.name)
