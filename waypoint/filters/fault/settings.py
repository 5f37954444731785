"""Faults as values, and what of them a request gets: pure."""

from __future__ import annotations

from dataclasses import dataclass

from waypoint.filters.verdicts import Refusal
from waypoint.messages import Request
from waypoint.routing.conditions import Fraction, HeaderMatch

ABORT_REQUEST = b"x-envoy-fault-abort-request"
ABORT_GRPC_REQUEST = b"x-envoy-fault-abort-grpc-request"
ABORT_PERCENTAGE = b"x-envoy-fault-abort-request-percentage"
DELAY_REQUEST = b"x-envoy-fault-delay-request"
DELAY_PERCENTAGE = b"x-envoy-fault-delay-request-percentage"
THROUGHPUT = b"x-envoy-fault-throughput-response"
THROUGHPUT_PERCENTAGE = b"x-envoy-fault-throughput-response-percentage"
DOWNSTREAM_NODE = b"x-envoy-downstream-service-node"

#: What a header may ask for at most: digits of a number.
DIGITS = 10
KIB = 1024
#: The answer of an abort, in Envoy's words.
BODY = b"fault filter abort"
DETAILS = "fault_filter_abort"
#: The access log's flags, and what is counted.
DELAYED, ABORTED = "DI", "FI"
DELAYS, ABORTS, PACES, OVERFLOWS = (
    "fault.delays_injected",
    "fault.aborts_injected",
    "fault.response_rl_injected",
    "fault.faults_overflow",
)


@dataclass(frozen=True, slots=True)
class Delay:
    """Requests held. seconds: None for what their headers say; share: of them."""

    seconds: float | None
    share: Fraction


@dataclass(frozen=True, slots=True)
class Abort:
    """Requests answered here: with an HTTP or a gRPC status, or what their headers say."""

    share: Fraction
    status: int | None = None
    grpc: int | None = None

    @property
    def by_header(self) -> bool:
        """Whether requests say with what."""
        return self.status is None and self.grpc is None


@dataclass(frozen=True, slots=True)
class Pace:
    """Responses slowed down. rate: bytes a second, None for what requests' headers say."""

    rate: int | None
    share: Fraction


@dataclass(frozen=True, slots=True)
class Fault:
    """What may happen to requests.

    headers, cluster, nodes: which of them it may happen to, all where empty; cluster:
    that they go to; nodes: what x-envoy-downstream-service-node may be; most: how many
    at a time, None for any number.
    """

    delay: Delay | None = None
    abort: Abort | None = None
    pace: Pace | None = None
    headers: tuple[HeaderMatch, ...] = ()
    cluster: str = ""
    nodes: frozenset[bytes] = frozenset()
    most: int | None = None

    @property
    def inert(self) -> bool:
        """Whether nothing ever happens."""
        return self.delay is None and self.abort is None and self.pace is None


def concerns(fault: Fault, request: Request) -> bool:
    """Whether a request is one of those that it may happen to, its cluster aside."""
    if fault.nodes and first(request, DOWNSTREAM_NODE) not in fault.nodes:
        return False
    return all(match.accepts(request) for match in fault.headers)


def delay_of(fault: Fault, request: Request, drawn: float) -> float:
    """For how many seconds a request is held; 0: it isn't."""
    delay = fault.delay
    if delay is None:
        return 0.0
    if delay.seconds is not None:
        return delay.seconds if delay.share.holds(drawn) else 0.0
    asked = number(request, DELAY_REQUEST)
    if not asked or not capped(delay.share, request, DELAY_PERCENTAGE).holds(drawn):
        return 0.0
    return asked / 1000


def abort_of(fault: Fault, request: Request, drawn: float) -> Refusal | None:
    """The answer that a request gets from us, if it does."""
    abort = fault.abort
    if abort is None:
        return None
    share = abort.share
    status, grpc = abort.status, abort.grpc
    if abort.by_header:
        share = capped(share, request, ABORT_PERCENTAGE)
        status = number(request, ABORT_REQUEST)
        if status is not None and not 200 <= status < 600:
            status = None
        # Only where no HTTP status is asked for.
        grpc = number(request, ABORT_GRPC_REQUEST) if status is None else None
    if (status is None and grpc is None) or not share.holds(drawn):
        return None
    status = 200 if status is None else status
    return Refusal(status, BODY, DETAILS, ABORTED, grpc=grpc, counts=(ABORTS,))


def rate_of(fault: Fault, request: Request, drawn: float) -> int:
    """How many bytes a second its response gets; 0: as many as there are."""
    pace = fault.pace
    if pace is None:
        return 0
    if pace.rate is not None:
        return pace.rate if pace.share.holds(drawn) else 0
    asked = number(request, THROUGHPUT)
    if not asked or not capped(pace.share, request, THROUGHPUT_PERCENTAGE).holds(drawn):
        return 0
    return asked * KIB


def capped(share: Fraction, request: Request, name: bytes) -> Fraction:
    """The share that a request asks for, which isn't more than the configured one."""
    asked = number(request, name)
    if asked is None:
        return share
    return Fraction(min(asked, share.numerator), share.denominator)


def number(request: Request, name: bytes) -> int | None:
    """A header's number; None where there is none. Of several values the first counts."""
    value = first(request, name)
    if value is None or not value.isdigit() or len(value) > DIGITS:
        return None
    return int(value)


def first(request: Request, name: bytes) -> bytes | None:
    """A header's first value."""
    return next((value for found, value in request.fields if found == name), None)
