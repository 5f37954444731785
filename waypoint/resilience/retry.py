"""Whether a request is sent again: Envoy's retry conditions, with a safer default.

Callers' ``x-envoy-retry-on``, ``x-envoy-retry-grpc-on``, ``x-envoy-max-retries`` and
their like are not read. Envoy reads them from anybody whose request isn't external, so
any client in the mesh may multiply the load of a service and have a payment sent
twice, whatever its owner configured. What may be retried is the owner's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from waypoint.messages import Response

#: RFC 9110 section 9.2.2: sending one twice is the same as sending it once.
IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
#: What Istio's validator accepts, but for what is said of HTTP/3, and gRPC's statuses
#: under their names (retry_on_grpc is part of retry_on there).
GRPC_STATUS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "cancelled": 1,
        "deadline-exceeded": 4,
        "resource-exhausted": 8,
        "internal": 13,
        "unavailable": 14,
    }
)
CONDITIONS: Final = frozenset(
    {
        "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure",
        "retriable-4xx", "refused-stream", "retriable-status-codes", "retriable-headers",
        "envoy-ratelimited", "http3-post-connect-failure", *GRPC_STATUS,
    }
)  # fmt: skip
GATEWAY_ERRORS: Final = frozenset({502, 503, 504})


class Failure(Enum):
    """How an attempt ended without a response of its own."""

    #: There was no connection: refused, timed out, TLS failed.
    CONNECT = "connect-failure"
    #: The connection or stream ended before a response.
    RESET = "reset"
    #: HTTP/2 REFUSED_STREAM, or a stream above a GOAWAY's last: not processed.
    REFUSED = "refused-stream"
    #: The time for one try ran out.
    PER_TRY_TIMEOUT = "per-try-timeout"
    #: The time for the whole request ran out.
    TIMEOUT = "timeout"
    #: A breaker of ours was open.
    OVERFLOW = "overflow"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is known of an attempt that ended.

    answer: the response's head, None: there was none and failure says why.
    sent: bytes of the request that left for the endpoint. unprocessed: the endpoint
    provably didn't handle the request. begun: the client has had a byte of the answer.
    """

    method: bytes
    answer: Response | None = None
    failure: Failure | None = None
    sent: int = 0
    unprocessed: bool = False
    begun: bool = False


@dataclass(frozen=True, slots=True)
class RateLimitReset:
    """A response's header that says when to ask again; seconds: in so many seconds,
    else at a moment of Unix time.
    """

    name: bytes
    seconds: bool


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """A route's retries; times in seconds.

    on: conditions, of CONDITIONS. attempts: retries, beside the first attempt.
    statuses: those of retriable-status-codes; header_matchers: of retriable-headers,
    one that fits suffices. resets: where an answer has such a header, it sets the
    delay, up to reset_maximum. host_selection_attempts: 0: hosts that failed aren't avoided.
    cautious: nothing but what was provably not processed, and nothing that isn't
    idempotent once a byte of it was sent: for policies that nobody wrote.
    """

    on: frozenset[str]
    attempts: int = 1
    per_try_timeout: float | None = None
    statuses: frozenset[int] = frozenset()
    header_matchers: tuple[Callable[[Response], bool], ...] = ()
    backoff_base: float = 0.025
    backoff_maximum: float = 0.25
    resets: tuple[RateLimitReset, ...] = ()
    reset_maximum: float = 300.0
    avoid_previous_hosts: bool = False
    host_selection_attempts: int = 1
    cautious: bool = False


#: Istio's default, made safe: what applies where a route says nothing of retries.
DEFAULT_POLICY: Final = RetryPolicy(
    on=frozenset(
        {
            "connect-failure", "refused-stream", "unavailable", "cancelled",
            "retriable-status-codes",
        }
    ),
    attempts=2,
    avoid_previous_hosts=True,
    host_selection_attempts=5,
    cautious=True,
)  # fmt: skip


class Verdict(Enum):
    """What becomes of a request after an attempt, and why."""

    RETRY = "retry"
    #: What came is what the client gets.
    FINAL = "no condition of the policy fits"
    BEGUN = "the client already has a part of the answer"
    TIMEOUT = "the time of the whole request is over"
    UNSAFE = "it may have been processed, and nobody asked for that to be retried"
    EXHAUSTED = "no retries are left"
    OVERFLOW = "too many retries at a time"
    BODY = "the body is too large to be sent again"


def decide(
    policy: RetryPolicy, attempt: Attempt, made: int, *, room: bool = True, body: bool = True
) -> Verdict:
    """Whether to send a request again after an attempt.

    made: retries that were already made. room: the cluster's budget has room for one
    more. body: what was sent of the body can be sent again.
    """
    if attempt.failure is Failure.TIMEOUT:
        return Verdict.TIMEOUT
    if attempt.begun:
        return Verdict.BEGUN
    if not any(fits(condition, policy, attempt) for condition in policy.on):
        return Verdict.FINAL
    if policy.cautious and not harmless(attempt):
        return Verdict.UNSAFE
    if made >= policy.attempts:
        return Verdict.EXHAUSTED
    if not body:
        return Verdict.BODY
    return Verdict.RETRY if room else Verdict.OVERFLOW


def harmless(attempt: Attempt) -> bool:
    """Whether a retry can't have anything done twice."""
    if not attempt.unprocessed and attempt.failure is not Failure.CONNECT:
        return False
    return attempt.method in IDEMPOTENT or attempt.sent == 0


def fits(condition: str, policy: RetryPolicy, attempt: Attempt) -> bool:
    """Whether one condition asks for a retry."""
    answer, failure = attempt.answer, attempt.failure
    if condition in GRPC_STATUS:
        # In the response's headers only: trailers come after the answer has begun.
        return answer is not None and grpc_status(answer) == GRPC_STATUS[condition]
    if answer is not None:
        return fits_answer(condition, policy, answer)
    if failure is Failure.OVERFLOW:
        # We sent nothing because there was too much: more of it would make it worse.
        return False
    match condition:
        case "5xx" | "gateway-error" | "reset":
            # Without a response the client gets a 503, or after a try's timeout a 504.
            return True
        case "connect-failure":
            return failure is Failure.CONNECT
        case "refused-stream":
            return failure is Failure.REFUSED
        case "reset-before-request":
            return attempt.sent == 0 or attempt.unprocessed or failure is Failure.CONNECT
        case _:
            return False


def fits_answer(condition: str, policy: RetryPolicy, answer: Response) -> bool:
    """Whether a response asks for a retry."""
    limited = header(answer, b"x-envoy-ratelimited") is not None
    if condition == "envoy-ratelimited":
        return limited
    if limited:
        # A limit that we ran into is no failure; only who names it wants a retry.
        return False
    match condition:
        case "5xx":
            return 500 <= answer.status < 600
        case "gateway-error":
            return answer.status in GATEWAY_ERRORS
        case "retriable-4xx":
            return answer.status == 409
        case "retriable-status-codes":
            return answer.status in policy.statuses
        case "retriable-headers":
            return any(matches(answer) for matches in policy.header_matchers)
        case _:
            return False


def grpc_status(answer: Response) -> int | None:
    """The gRPC status in a response's headers (a trailers-only answer), or None."""
    value = header(answer, b"grpc-status")
    return int(value) if value is not None and value.isdigit() and len(value) < 4 else None


def header(answer: Response, name: bytes) -> bytes | None:
    """The first value of a response's header, or None."""
    return next((value for found, value in answer.fields if found == name), None)


def backoff(policy: RetryPolicy, retry: int, drawn: float) -> float:
    """Seconds before a retry, the first being 1: uniform below a growing bound.

    The bound is (2**retry - 1) times the base, and the maximum at most.
    """
    bound = float((1 << min(retry, 32)) - 1) * policy.backoff_base
    return drawn * min(bound, policy.backoff_maximum)


def delay(
    policy: RetryPolicy, answer: Response | None, retry: int, drawn: float, wall: float
) -> float:
    """Seconds before a retry, by what the answer says or else by back-off.

    wall: the time since 1970. What an answer says is stretched by up to a half, so
    that clients who were told the same moment don't come all at once.
    """
    if answer is not None:
        for reset in policy.resets:
            seconds = reset_after(reset, answer, wall)
            if seconds is not None and 0 < seconds <= policy.reset_maximum:
                return seconds * (1 + drawn / 2)
    return backoff(policy, retry, drawn)


def reset_after(reset: RateLimitReset, answer: Response, wall: float) -> float | None:
    """Seconds until an answer's header says to ask again, or None."""
    value = header(answer, reset.name)
    if value is None or not value.isdigit() or len(value) > 12:
        return None
    return float(int(value)) if reset.seconds else int(value) - wall


def per_try(policy: RetryPolicy, timeout: float | None) -> float | None:
    """Seconds for one try; one that isn't below the whole request's counts for nothing."""
    own = policy.per_try_timeout
    return None if own is None or (timeout is not None and own >= timeout) else own
