"""What is told of requests, whatever protocol they came by: metrics and the access log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from waypoint.access_log import NO_AUTHORITY, NO_UPSTREAM, NOBODY, line
from waypoint.errors import MessageError
from waypoint.worker import Caller, Worker

if TYPE_CHECKING:
    from waypoint.exchange import Exchange


def record(exchange: Exchange, flags: str, details: str) -> None:
    """Count and log an exchange that is over; flags, details: how it ended, in Envoy's
    words.
    """
    worker = exchange.worker
    plan = exchange.plan
    down = exchange.down
    milliseconds = int((worker.time() - exchange.started) * 1000)
    received = down.received()
    # Without an endpoint or a cluster, the service is the one that was asked for.
    place = exchange.visited or exchange.cluster or plan.target.clusters[""]
    grpc_status = exchange.grpc_status if plan.grpc else None
    worker.recorder.count(
        (down.caller.client, place, plan.grpc, exchange.status, flags, grpc_status),
        milliseconds,
        received,
        exchange.sent,
    )
    if not worker.log.on:
        return
    route = plan.route
    grpc = exchange.grpc_status
    worker.log.add(
        line(
            start=worker.clock.render(exchange.wall),
            request=plan.line,
            status=exchange.status,
            flags=flags,
            details=details,
            failure=exchange.failure,
            received=received,
            sent=exchange.sent,
            duration=milliseconds,
            service_time=str(int((exchange.responded - exchange.started) * 1000))
            if exchange.responded
            else "-",
            agent=plan.agent,
            request_id=exchange.request_id,
            authority=plan.authority,
            upstream=exchange.upstream,
            downstream=down.caller.log,
            route=route.name if route is not None else "-",
            peer=down.caller.identity,
            grpc="-" if grpc is None or not grpc.isdigit() else grpc.decode(),
        )
    )


def log_refusal(
    worker: Worker, caller: Caller, request: str, error: MessageError, sent: int
) -> None:
    """Count and log what is no request that may be passed on; sent: the answer's bytes."""
    worker.stats.answer(error.details)
    if not worker.log.on:
        return
    worker.log.add(
        line(
            start=worker.clock.render(time.time()),
            request=request,
            status=error.status,
            flags="DPE" if error.status == 400 else "-",
            details=error.details,
            failure="-",
            received=0,
            sent=sent,
            duration=0,
            service_time="-",
            agent=NOBODY,
            request_id="-",
            authority=NO_AUTHORITY,
            upstream=NO_UPSTREAM,
            downstream=caller.log,
            route="-",
            peer=caller.identity,
        )
    )
