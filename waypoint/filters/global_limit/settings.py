"""What a global rate limit is told, and what its service answers: values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from waypoint.filters.descriptors import HostLimits
from waypoint.filters.unary import GrpcService
from waypoint.messages import Field
from waypoint.routing.conditions import ALL, Fraction
from waypoint.routing.edits import NO_EDITS, Edits
from waypoint.routing.limits import RateLimit


@dataclass(frozen=True, slots=True)
class Settings:
    """A filter's settings.

    deny_on_failure: without an answer requests are refused, with status_on_error.
    status: of refusals; exhausted: gRPC callers are told RESOURCE_EXHAUSTED; tell: the
    x-ratelimit fields; mark: x-envoy-ratelimited; add: further fields of refusals.
    limits: in place of the routes'. asked_for, enforced_for: shares of requests.
    """

    domain: str
    service: GrpcService
    stage: int = 0
    deny_on_failure: bool = False
    status_on_error: int = 500
    status: int = 429
    exhausted: bool = False
    tell: bool = False
    mark: bool = True
    add: Edits = NO_EDITS
    limits: tuple[RateLimit, ...] = ()
    asked_for: Fraction = ALL
    enforced_for: Fraction = ALL


@dataclass(frozen=True, slots=True)
class Override:
    """A route's own. host: whether its virtual host's limits hold; limits, domain: in
    place of others, where there are any.
    """

    host: HostLimits = HostLimits.OVERRIDE
    limits: tuple[RateLimit, ...] = ()
    domain: str = ""


class Status(NamedTuple):
    """What became of one descriptor. limit: requests a window (seconds; 0: not known);
    reset: seconds until there are remaining ones again.
    """

    over: bool
    limit: int | None = None
    window: int = 0
    name: str = ""
    remaining: int = 0
    reset: float = 0.0


class Answer(NamedTuple):
    """What the service said. response, request: fields for client and endpoint."""

    over: bool
    statuses: tuple[Status, ...] = ()
    response: tuple[Field, ...] = ()
    request: tuple[Field, ...] = ()
    body: bytes = b""
    notes: Mapping[str, Any] | None = None
