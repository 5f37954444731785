"""How a cluster chooses, as configured; defaults are Envoy's."""

from __future__ import annotations

from dataclasses import dataclass

from waypoint.balancing.slow_start import SlowStart


@dataclass(frozen=True, slots=True)
class RoundRobinPolicy:
    """Each host in turn."""

    slow_start: SlowStart | None = None


@dataclass(frozen=True, slots=True)
class LeastRequestPolicy:
    """The least busy of so many choices, or with full_scan of all.

    active_request_bias: how much being busy counts against a weight, where weights
    differ; 0: not at all.
    """

    choices: int = 2
    active_request_bias: float = 1.0
    full_scan: bool = False
    slow_start: SlowStart | None = None


@dataclass(frozen=True, slots=True)
class RandomPolicy:
    """Any host."""


@dataclass(frozen=True, slots=True)
class RingHashPolicy:
    """By hash, on a ring of at least and at most so many places; murmur: which are found
    by MurmurHash2.
    """

    minimum: int = 1024
    maximum: int = 8 * 1024 * 1024
    murmur: bool = False


@dataclass(frozen=True, slots=True)
class MaglevPolicy:
    """By hash, in a table of so many slots: a prime."""

    table_size: int = 65537


Policy = RoundRobinPolicy | LeastRequestPolicy | RandomPolicy | RingHashPolicy | MaglevPolicy


@dataclass(frozen=True, slots=True)
class Panic:
    """When health stops to count.

    threshold: per cent of a priority's hosts that must be healthy; 0: never panic.
    fail: in panic choose nobody, rather than anybody.
    """

    threshold: float = 50.0
    fail: bool = False
