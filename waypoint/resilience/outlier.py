"""Outlier detection: who fails more than others is ejected for a while (Envoy's).

Each response and failure is charged to its host (Monitor). Streaks eject at once;
success rates are compared at each interval, when ejected hosts may come back too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

GATEWAY_ERRORS = frozenset({502, 503, 504})


class Outcome(Enum):
    """What a request came to that brought no status; value: the status it counts as."""

    #: It couldn't be connected to, or TLS failed.
    CONNECT_FAILED = 503
    #: No response in time.
    TIMED_OUT = 504
    #: The connection ended before the response was whole.
    RESET = 502
    #: A connection was made: only local origins know of it.
    CONNECTED = 200
    #: The response was no HTTP.
    PROTOCOL_ERROR = 500


#: What is the way's fault rather than the application's.
LOCAL_FAILURES = frozenset({Outcome.CONNECT_FAILED, Outcome.TIMED_OUT, Outcome.RESET})


class Cause(Enum):
    """Why a host is ejected."""

    CONSECUTIVE_5XX = "consecutive_5xx"
    CONSECUTIVE_GATEWAY = "consecutive_gateway_failure"
    CONSECUTIVE_LOCAL = "consecutive_local_origin_failure"
    SUCCESS_RATE = "success_rate"
    SUCCESS_RATE_LOCAL = "success_rate_local_origin"
    FAILURE_PERCENTAGE = "failure_percentage"
    FAILURE_PERCENTAGE_LOCAL = "failure_percentage_local_origin"


@dataclass(frozen=True, slots=True)
class OutlierSettings:
    """Envoy's OutlierDetection and its defaults; times in seconds, shares in per cent.

    A streak of 0 is never reached.
    """

    consecutive_5xx: int = 5
    interval: float = 10.0
    base_ejection_time: float = 30.0
    max_ejection_time: float = 300.0
    max_ejection_time_jitter: float = 0.0
    max_ejection_percent: int = 10
    always_eject_one_host: bool = False
    enforcing_consecutive_5xx: int = 100
    enforcing_success_rate: int = 100
    success_rate_minimum_hosts: int = 5
    success_rate_request_volume: int = 100
    success_rate_stdev_factor: int = 1900
    consecutive_gateway_failure: int = 5
    enforcing_consecutive_gateway_failure: int = 0
    split_external_local_origin_errors: bool = False
    consecutive_local_origin_failure: int = 5
    enforcing_consecutive_local_origin_failure: int = 100
    enforcing_local_origin_success_rate: int = 100
    failure_percentage_threshold: int = 85
    enforcing_failure_percentage: int = 0
    enforcing_failure_percentage_local_origin: int = 0
    failure_percentage_minimum_hosts: int = 5
    failure_percentage_request_volume: int = 50
    uneject_on_healthy_check: bool = True

    def enforcing(self, cause: Cause) -> int:
        """Of a hundred detections, how many eject."""
        match cause:
            case Cause.CONSECUTIVE_5XX:
                return self.enforcing_consecutive_5xx
            case Cause.CONSECUTIVE_GATEWAY:
                return self.enforcing_consecutive_gateway_failure
            case Cause.CONSECUTIVE_LOCAL:
                return self.enforcing_consecutive_local_origin_failure
            case Cause.SUCCESS_RATE:
                return self.enforcing_success_rate
            case Cause.SUCCESS_RATE_LOCAL:
                return self.enforcing_local_origin_success_rate
            case Cause.FAILURE_PERCENTAGE:
                return self.enforcing_failure_percentage
            case Cause.FAILURE_PERCENTAGE_LOCAL:
                return self.enforcing_failure_percentage_local_origin


@dataclass(slots=True)
class Rate:
    """Requests of this interval, and of the one before."""

    total: int = 0
    good: int = 0
    last: tuple[int, int] = (0, 0)

    def charge(self, *, good: bool) -> None:
        """Count a request."""
        self.total += 1
        self.good += good

    def turn(self) -> None:
        """An interval is over."""
        self.last = (self.total, self.good)
        self.total = self.good = 0


@dataclass(slots=True, eq=False)
class Monitor:
    """What is known of one host.

    ejected_at: when it was, None: it isn't; ejections: by how much its next ejection
    is multiplied, less one for each interval in which it behaves.
    """

    label: str
    streak_5xx: int = 0
    streak_gateway: int = 0
    streak_local: int = 0
    external: Rate = field(default_factory=Rate)
    local: Rate = field(default_factory=Rate)
    ejected_at: float | None = None
    ejections: int = 0
    jitter: float = 0.0


class Outliers:
    """A cluster's hosts and who of them is ejected.

    changed is called when a host is ejected or comes back; drawn gives a random number
    from [0, 1).
    """

    __slots__ = (
        "changed", "counts", "drawn", "due", "ejected", "monitors", "overflows", "settings",
    )  # fmt: skip

    def __init__(
        self,
        settings: OutlierSettings | None,
        drawn: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        self.settings = settings
        self.drawn = drawn
        self.changed = changed
        self.monitors: set[Monitor] = set()
        #: How many are ejected.
        self.ejected = 0
        #: Ejections so far by cause, and those that the share ejected didn't allow.
        self.counts: dict[Cause, int] = {}
        self.overflows = 0
        #: When the interval ends; None: none has begun.
        self.due: float | None = None

    def adjust(self, settings: OutlierSettings | None) -> None:
        """Other settings from now on; without any, everybody comes back."""
        if settings == self.settings:
            return
        self.settings = settings
        self.due = None
        if settings is None:
            for monitor in self.monitors:
                if monitor.ejected_at is not None:
                    self.uneject(monitor)

    def add(self, monitor: Monitor) -> None:
        """A host that came."""
        self.monitors.add(monitor)

    def remove(self, monitor: Monitor) -> None:
        """A host that left."""
        self.monitors.discard(monitor)
        if monitor.ejected_at is not None:
            self.ejected -= 1

    def report(self, monitor: Monitor, outcome: int | Outcome, now: float) -> None:
        """Charge a host with a response's status, or with what came instead of one."""
        settings = self.settings
        if settings is None:
            return
        if isinstance(outcome, int):
            self.external(monitor, outcome, now)
        elif not settings.split_external_local_origin_errors:
            if outcome is not Outcome.CONNECTED:
                self.external(monitor, outcome.value, now)
        elif outcome in LOCAL_FAILURES:
            monitor.local.charge(good=False)
            monitor.streak_local += 1
            if monitor.streak_local == settings.consecutive_local_origin_failure:
                monitor.streak_local = 0
                self.eject(monitor, Cause.CONSECUTIVE_LOCAL, now)
        elif outcome is Outcome.CONNECTED:
            monitor.local.charge(good=True)
            monitor.streak_local = 0
        else:
            self.external(monitor, outcome.value, now)

    def external(self, monitor: Monitor, status: int, now: float) -> None:
        """Charge a host with a status."""
        settings = self.settings
        failed = 500 <= status < 600
        monitor.external.charge(good=not failed)
        if settings is None or not failed:
            monitor.streak_5xx = monitor.streak_gateway = 0
            return
        if status in GATEWAY_ERRORS:
            monitor.streak_gateway += 1
            if monitor.streak_gateway == settings.consecutive_gateway_failure:
                monitor.streak_gateway = 0
                self.eject(monitor, Cause.CONSECUTIVE_GATEWAY, now)
        else:
            monitor.streak_gateway = 0
        monitor.streak_5xx += 1
        if monitor.streak_5xx == settings.consecutive_5xx:
            monitor.streak_5xx = 0
            self.eject(monitor, Cause.CONSECUTIVE_5XX, now)

    def eject(self, monitor: Monitor, cause: Cause, now: float) -> None:
        """Leave a host out, unless too many are or the settings only watch."""
        settings = self.settings
        if settings is None or monitor.ejected_at is not None:
            return
        share = 100 * (self.ejected + 1) / max(len(self.monitors), 1)
        first = settings.always_eject_one_host and not self.ejected
        if share > settings.max_ejection_percent and not first:
            self.overflows += 1
            return
        if self.drawn() * 100 >= settings.enforcing(cause):
            return
        self.ejected += 1
        self.counts[cause] = self.counts.get(cause, 0) + 1
        monitor.ejected_at = now
        monitor.jitter = self.drawn() * settings.max_ejection_time_jitter
        # Once a further ejection would be no longer, the multiplier grows no more.
        reached = monitor.ejections * settings.base_ejection_time
        if reached < settings.max_ejection_time + settings.base_ejection_time:
            monitor.ejections += 1
        self.changed()

    def uneject(self, monitor: Monitor) -> None:
        """A host comes back, with its streaks forgotten."""
        if monitor.ejected_at is None:
            return
        monitor.ejected_at = None
        monitor.streak_5xx = monitor.streak_gateway = monitor.streak_local = 0
        self.ejected -= 1
        self.changed()

    def checked_healthy(self, monitor: Monitor) -> None:
        """An active check found the host healthy."""
        if self.settings is not None and self.settings.uneject_on_healthy_check:
            self.uneject(monitor)

    def advance(self, now: float) -> None:
        """Called often: does what an interval's end asks for."""
        settings = self.settings
        if settings is None:
            return
        if self.due is None:
            self.due = now + settings.interval
        if now < self.due:
            return
        self.due = now + settings.interval
        for monitor in self.monitors:
            self.reconsider(monitor, settings, now)
            monitor.external.turn()
            monitor.local.turn()
        self.compare(now, of_local=False)
        self.compare(now, of_local=True)

    def reconsider(self, monitor: Monitor, settings: OutlierSettings, now: float) -> None:
        """Let a host back whose time is over; who behaves is forgiven step by step."""
        if monitor.ejected_at is None:
            monitor.ejections = max(0, monitor.ejections - 1)
            return
        grown = settings.base_ejection_time * monitor.ejections
        if now - monitor.ejected_at >= min(grown, settings.max_ejection_time) + monitor.jitter:
            self.uneject(monitor)

    def compare(self, now: float, *, of_local: bool) -> None:
        """Eject by the rates of the interval that is over."""
        settings = self.settings
        if settings is None:
            return
        rates = list(rates_of(self.monitors, of_local=of_local))
        by_rate = [
            (m, rate) for m, rate, n in rates if n >= settings.success_rate_request_volume
        ]
        if by_rate and len(by_rate) >= settings.success_rate_minimum_hosts:
            least = threshold(
                [rate for _, rate in by_rate], settings.success_rate_stdev_factor / 1000
            )
            cause = Cause.SUCCESS_RATE_LOCAL if of_local else Cause.SUCCESS_RATE
            for monitor, rate in by_rate:
                if rate < least:
                    self.eject(monitor, cause, now)
        by_share = [
            (m, rate) for m, rate, n in rates if n >= settings.failure_percentage_request_volume
        ]
        if by_share and len(by_share) >= settings.failure_percentage_minimum_hosts:
            cause = Cause.FAILURE_PERCENTAGE_LOCAL if of_local else Cause.FAILURE_PERCENTAGE
            for monitor, rate in by_share:
                if 100 - rate >= settings.failure_percentage_threshold:
                    self.eject(monitor, cause, now)


def rates_of(
    monitors: Iterable[Monitor], *, of_local: bool
) -> Iterable[tuple[Monitor, float, int]]:
    """Hosts that aren't ejected, per cent of good requests, and how many there were."""
    for monitor in monitors:
        total, good = (monitor.local if of_local else monitor.external).last
        if total and monitor.ejected_at is None:
            yield monitor, 100 * good / total, total


def threshold(rates: Sequence[float], factor: float) -> float:
    """The success rate below which a host is an outlier: so many deviations below."""
    mean = sum(rates) / len(rates)
    variance = sum((rate - mean) ** 2 for rate in rates) / len(rates)
    return mean - factor * math.sqrt(variance)
