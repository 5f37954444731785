"""What may be configured for a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from waypoint.balancing.locality import LocalitySetting
from waypoint.balancing.policies import LeastRequestPolicy, Panic, Policy
from waypoint.resilience.breakers import BreakerSettings
from waypoint.resilience.health import HealthCheck
from waypoint.resilience.outlier import OutlierSettings

LEAST_REQUEST = LeastRequestPolicy()
PANIC = Panic()
UNBROKEN = BreakerSettings()
#: Longer than anything lives, in seconds.
FOREVER = float(1 << 40)
NO_LABELS: Mapping[str, str] = MappingProxyType({})


class Protocol(Enum):
    """What endpoints are spoken to in."""

    HTTP1 = "http1"
    HTTP2 = "http2"
    #: As the client speaks.
    DOWNSTREAM = "downstream"


@dataclass(frozen=True, slots=True)
class Pings:
    """HTTP/2's keepalive, in seconds: between PINGs, longer at random by so much, and for
    an answer.
    """

    interval: float
    timeout: float
    jitter_percent: float = 15.0


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Connections that carry HTTP; times in seconds, None: no limit, unless said.

    protocol: None: by the service port's. max_requests: on one connection, 0: any
    number. idle_timeout: without a request, 0: any time; None: the worker's own.
    max_connection_duration: it takes no requests then, and ends after those it has.
    streams: at a time on one HTTP/2 connection; stream_window, connection_window:
    HTTP/2's, in bytes; None for these: the codec's own. pings: HTTP/2's; None: none.
    """

    protocol: Protocol | None = None
    max_requests: int = 0
    idle_timeout: float | None = None
    max_connection_duration: float | None = None
    streams: int | None = None
    stream_window: int | None = None
    connection_window: int | None = None
    pings: Pings | None = None

    def idle(self, default: float) -> float:
        """Seconds that a connection may be kept without a request; default: where nothing
        is said.
        """
        if self.idle_timeout is None:
            return default
        return self.idle_timeout or FOREVER

    def end(self, now: float) -> float:
        """Until when a connection that is made now takes requests."""
        return now + (self.max_connection_duration or FOREVER)


PLAIN = HttpSettings()


@dataclass(frozen=True, slots=True)
class Keepalive:
    """TCP keepalive: unanswered probes, idle seconds, seconds between; None: the system's."""

    probes: int | None = None
    time: int | None = None
    interval: int | None = None


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """A cluster's; the defaults are Istio's, for clusters that nobody says anything of.

    connect_timeout: seconds. subset: labels that endpoints must have. locality: whom to
    prefer by where they are, beside the service's own preference. checks: of every
    endpoint, all of which must be well.
    """

    policy: Policy = LEAST_REQUEST
    panic: Panic = PANIC
    locality: LocalitySetting | None = None
    outlier: OutlierSettings | None = None
    breakers: BreakerSettings = UNBROKEN
    checks: tuple[HealthCheck, ...] = ()
    connect_timeout: float = 10.0
    http: HttpSettings = PLAIN
    keepalive: Keepalive | None = None
    subset: Mapping[str, str] = field(default_factory=lambda: NO_LABELS, hash=False)


DEFAULTS = ClusterSettings()
