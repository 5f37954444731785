"""Attempts of an exchange: what their ends mean, and whether there is another."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from waypoint import replies
from waypoint.dispatch import dispatch
from waypoint.holds import CONNECTING, UPSTREAM
from waypoint.layers.response import ResponseHead, response_of
from waypoint.member import Member
from waypoint.pool import Endpoint
from waypoint.replies import BROKEN, REFUSED, RESET, TERMINATED
from waypoint.resilience.breakers import Resource
from waypoint.resilience.outlier import Outcome
from waypoint.resilience.retry import Attempt, Verdict, decide, delay
from waypoint.resilience.retry import Failure as Failed
from waypoint.settling import leave

if TYPE_CHECKING:
    from waypoint.exchange import Exchange

logger = logging.getLogger(__name__)

BEFORE = "upstream_reset_before_response_started"
#: What retries know of how an attempt ended.
FAILURES = {
    REFUSED: (Failed.REFUSED, None),
    TERMINATED: (Failed.RESET, Outcome.RESET),
    RESET: (Failed.RESET, Outcome.RESET),
    BROKEN: (Failed.RESET, Outcome.PROTOCOL_ERROR),
}


def attempt_of(exchange: Exchange, failure: Failed) -> Attempt:
    """What is known of an attempt that brought no answer."""
    return Attempt(
        exchange.plan.head.request.method,
        failure=failure,
        sent=int(exchange.wrote),
        unprocessed=failure is Failed.REFUSED,
        begun=bool(exchange.responded),
    )


def again(exchange: Exchange, attempt: Attempt, endpoint: Endpoint | None) -> bool:
    """Send the request again, if its policy says so of how an attempt ended."""
    policy, cluster = exchange.policy, exchange.cluster
    if policy is None or cluster is None or exchange.tunnel or exchange.plan.head.upgrade:
        return False
    breaker = cluster.breakers.default
    room = exchange.retrying or breaker.has_room(Resource.RETRIES)
    kept = exchange.kept
    lost = kept is not None and kept.lost
    verdict = decide(policy, attempt, exchange.retries, room=room, body=not lost)
    stats = exchange.worker.stats
    if verdict is not Verdict.RETRY:
        if verdict is not Verdict.FINAL:
            stats.retry(verdict.name.lower())
        exchange.exhausted = verdict is Verdict.EXHAUSTED
        if verdict is Verdict.BODY:
            logger.warning("%s: %s", exchange.plan.line, verdict.value)
        return False
    stats.retry(attempt.failure.value if attempt.failure is not None else "answer")
    if not exchange.retrying:
        exchange.retrying = breaker.take(Resource.RETRIES)
    exchange.retries += 1
    exchange.stop_try()
    if policy.avoid_previous_hosts and isinstance(endpoint, Member):
        exchange.tried = (*exchange.tried, endpoint)
    if not exchange.complete:
        exchange.down.hold(CONNECTING)
    # Where nothing was sent, nobody is spared by waiting.
    seconds = 0.0
    if attempt.failure is not Failed.CONNECT:
        drawn = exchange.worker.random()
        seconds = delay(policy, attempt.answer, exchange.retries, drawn, time.time())
    exchange.pause = exchange.worker.loop.call_later(seconds, send_again, exchange)
    return True


def send_again(exchange: Exchange) -> None:
    """The next attempt."""
    exchange.pause = None
    body = exchange.kept.body() if exchange.kept is not None else b""
    if body is None:
        # It grew too large meanwhile.
        exchange.answer(503, "UR", f"{BEFORE}{{{Verdict.BODY.value}}}", replies.RESET.body)
        return
    exchange.pending = body
    exchange.wrote = False
    exchange.down.release(UPSTREAM)
    dispatch(exchange)
    if exchange.up is not None:
        exchange.down.release(CONNECTING)


def goes_again(exchange: Exchange, head: ResponseHead) -> bool:
    """Whether an answer is kept from the client, since the request goes again."""
    policy = exchange.policy
    if policy is None or policy.cautious or exchange.over:
        return False
    fine = head.status < 400 and head.grpc_status in {None, b"0"}
    if fine and not policy.header_matchers and not policy.statuses:
        return False
    method = exchange.plan.head.request.method
    attempt = Attempt(method, answer=response_of(head), sent=1)
    endpoint = exchange.endpoint
    if not again(exchange, attempt, endpoint):
        return False
    exchange.drop_upstream()
    leave(exchange, head.status)
    return True


def try_timed_out(exchange: Exchange) -> None:
    """The time for one attempt."""
    exchange.try_timer = None
    endpoint = exchange.endpoint
    exchange.drop_upstream()
    leave(exchange, Outcome.TIMED_OUT)
    if not again(exchange, attempt_of(exchange, Failed.PER_TRY_TIMEOUT), endpoint):
        exchange.answer(
            504, exchange.flagged("UT"), "upstream_per_try_timeout", replies.TIMED_OUT
        )
