"""When an exchange has taken too long, and what becomes of it then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waypoint import replies
from waypoint.resilience.outlier import Outcome
from waypoint.routing import Forward
from waypoint.settling import leave
from ztunnel_compat.h2.connection import ErrorCode

if TYPE_CHECKING:
    from waypoint.exchange import Exchange


def await_body(exchange: Exchange) -> None:
    """The whole request must have come in the time that its route gives for that."""
    action = exchange.plan.route.action if exchange.plan.route is not None else None
    if not isinstance(action, Forward) or action.request_timeout is None:
        return
    if exchange.timer is None:
        exchange.timer = exchange.worker.loop.call_later(
            action.request_timeout, too_slow, exchange
        )


def too_slow(exchange: Exchange) -> None:
    """The request isn't whole yet; where its answer has begun, it may take its time."""
    exchange.timer = None
    if not exchange.complete and not exchange.responded:
        exchange.answer(408, "-", "request_overall_timeout", b"request timeout")


def start_timer(exchange: Exchange) -> None:
    """The route's timeout runs from the end of the request, retries included."""
    if exchange.timer is not None:
        exchange.timer.cancel()
        exchange.timer = None
    action = exchange.plan.route.action if exchange.plan.route is not None else None
    if not isinstance(action, Forward) or action.timeout is None or exchange.over:
        return
    # Where a gRPC caller's own time counts, it does in place of the route's.
    if exchange.plan.deadline is None:
        exchange.timer = exchange.worker.loop.call_later(action.timeout, timed_out, exchange)


def watch(exchange: Exchange, seconds: float) -> None:
    """Look again after the route's idle time whether anything has moved."""
    exchange.moved = False
    exchange.idle = exchange.worker.loop.call_later(seconds, look, exchange, seconds)


def look(exchange: Exchange, seconds: float) -> None:
    """End what has stood still for the route's idle time."""
    if exchange.moved:
        watch(exchange, seconds)
    else:
        idle_too_long(exchange)


def timed_out(exchange: Exchange) -> None:
    """The route's timeout."""
    exchange.timer = None
    exchange.drop_upstream()
    leave(exchange, Outcome.TIMED_OUT)
    if exchange.responded:
        exchange.cut("UT", "upstream_response_timeout")
    else:
        exchange.answer(504, "UT", "upstream_response_timeout", replies.TIMED_OUT)


def expired(exchange: Exchange) -> None:
    """As long as it may last, by its route or by the gRPC caller, who waits no longer."""
    exchange.deadline = None
    if exchange.responded:
        exchange.cut("-", "max_duration_timeout", ErrorCode.CANCEL)
    else:
        exchange.answer(
            504 if exchange.complete else 408,
            "-",
            "max_duration_timeout",
            b"downstream duration timeout",
            grpc=replies.DEADLINE_EXCEEDED,
        )


def idle_too_long(exchange: Exchange) -> None:
    """Nothing moved for an hour, or not enough (see stalls)."""
    if exchange.responded:
        exchange.cut("SI", "stream_idle_timeout")
    elif not exchange.complete:
        exchange.answer(408, "SI", "stream_idle_timeout", replies.STALLED)
    else:
        exchange.answer(504, "SI", "stream_idle_timeout", replies.TIMED_OUT)


def stop_timers(exchange: Exchange) -> None:
    """Nothing is waited for any more."""
    if exchange.timer is not None:
        exchange.timer.cancel()
    if exchange.deadline is not None:
        exchange.deadline.cancel()
    if exchange.idle is not None:
        exchange.idle.cancel()
    if exchange.pause is not None:
        exchange.pause.cancel()
    if exchange.try_timer is not None:
        exchange.try_timer.cancel()
