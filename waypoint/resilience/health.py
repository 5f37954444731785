"""Active health checks: when to check a host, and what the answers make of it.

Envoy's state machine, without I/O: a driver asks for what is due, checks, and reports.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """A request; expected: ranges of statuses that are well, the end not included;
    retriable: those that count towards the threshold (others make unhealthy at once);
    http2: it is made in HTTP/2, with prior knowledge.
    """

    path: bytes
    host: bytes = b""
    method: bytes = b"GET"
    fields: tuple[tuple[bytes, bytes], ...] = ()
    expected: tuple[tuple[int, int], ...] = ((200, 201),)
    retriable: tuple[tuple[int, int], ...] = ()
    http2: bool = False

    def verdict(self, status: int) -> Result:
        """What a status says."""
        if any(low <= status < high for low, high in self.expected):
            return Result.GOOD
        if any(low <= status < high for low, high in self.retriable):
            return Result.BAD
        return Result.FATAL


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """A connection; send: what is sent, receive: what has to come, in this order, with
    anything between. With neither, being connected is enough.
    """

    send: bytes = b""
    receive: tuple[bytes, ...] = ()

    def satisfied(self, received: bytes) -> bool:
        """Whether all has come."""
        position = 0
        for part in self.receive:
            found = received.find(part, position)
            if found < 0:
                return False
            position = found + len(part)
        return True


@dataclass(frozen=True, slots=True)
class GrpcCheck:
    """grpc.health.v1.Health/Check of a service; empty: of the whole server."""

    service: str = ""
    authority: bytes = b""
    fields: tuple[tuple[bytes, bytes], ...] = ()


Check = HttpCheck | TcpCheck | GrpcCheck


class Result(Enum):
    """What one check came to."""

    GOOD = "good"
    BAD = "bad"
    #: Unhealthy at once, whatever the threshold.
    FATAL = "fatal"
    TIMEOUT = "timeout"
    #: There was no connection, or it broke.
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One check of every host of a cluster; Envoy's defaults; times in seconds.

    unhealthy_threshold: bad results in a row that make unhealthy; healthy_threshold:
    good ones that make healthy again (the first of all does so alone). interval_jitter
    seconds and jitter_percent of the interval are added at random, at most. no_traffic:
    the interval while the cluster has no requests. The *_edge intervals follow a change.
    port: of the check, 0: the host's own.
    """

    check: Check
    timeout: float
    interval: float
    unhealthy_threshold: int = 1
    healthy_threshold: int = 1
    initial_jitter: float = 0.0
    interval_jitter: float = 0.0
    jitter_percent: int = 0
    no_traffic: float = 60.0
    no_traffic_healthy: float | None = None
    unhealthy_interval: float | None = None
    unhealthy_edge_interval: float | None = None
    healthy_edge_interval: float | None = None
    port: int = 0


class Checked:
    """What is known of one host by one check; of a host with several, each says its own,
    and all of them must be well (Envoy's "multiple health checkers").

    healthy: None until the first result. due: when to check next, None: a check is
    under way. Until a first good result a host takes no requests.
    """

    __slots__ = ("bad", "due", "good", "healthy", "settings")

    def __init__(self, settings: HealthCheck, now: float, drawn: float) -> None:
        self.settings = settings
        self.healthy: bool | None = None
        self.good = 0
        self.bad = 0
        self.due: float | None = now + drawn * settings.initial_jitter

    def begin(self, now: float) -> bool:
        """Whether it is time for a check, which is then under way."""
        if self.due is None or now < self.due:
            return False
        self.due = None
        return True

    def result(self, result: Result, now: float, drawn: float, *, traffic: bool) -> None:
        """Take in what a check came to; traffic: whether the cluster has had requests."""
        settings = self.settings
        before = self.healthy
        if result is Result.GOOD:
            self.bad = 0
            self.good += 1
            if not before and (before is None or self.good >= settings.healthy_threshold):
                self.healthy = True
        else:
            self.good = 0
            self.bad += 1
            # Envoy's: an answer that isn't well decides at once, unless the check
            # names it as one to be counted.
            if before is not False and (
                result is Result.FATAL
                or before is None
                or self.bad >= settings.unhealthy_threshold
            ):
                self.healthy = False
        changed = self.healthy is not before
        self.due = now + self.wait(drawn, changed=changed, traffic=traffic)

    def wait(self, drawn: float, *, changed: bool, traffic: bool) -> float:
        """Seconds until the next check."""
        settings = self.settings
        if not traffic:
            wait = settings.no_traffic
            if self.healthy and settings.no_traffic_healthy is not None:
                wait = settings.no_traffic_healthy
        elif self.healthy:
            wait = settings.interval
            if changed and settings.healthy_edge_interval is not None:
                wait = settings.healthy_edge_interval
        else:
            wait = settings.interval
            if settings.unhealthy_interval is not None:
                wait = settings.unhealthy_interval
            if changed and settings.unhealthy_edge_interval is not None:
                wait = settings.unhealthy_edge_interval
        wait += wait * settings.jitter_percent / 100 * drawn
        return wait + settings.interval_jitter * drawn
