"""An exchange's way to an endpoint: which one, and a connection to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waypoint import replies
from waypoint.access_log import upstream_part
from waypoint.choice import pick
from waypoint.holds import CONNECTING
from waypoint.http2.upstream import join
from waypoint.member import Member
from waypoint.resilience.breakers import Resource
from waypoint.routing import Forward
from waypoint.settling import leave
from waypoint.upstream import connect as open_http1

if TYPE_CHECKING:
    from waypoint.exchange import Exchange


def dispatch(exchange: Exchange) -> None:
    """Find an endpoint and a connection to it."""
    cluster = exchange.cluster
    assert cluster is not None
    if exchange.tried or exchange.session:
        endpoint = pick(exchange, cluster)
    else:
        endpoint = cluster.pick(exchange.worker.random(), exchange.hash_key)
    if endpoint is None:
        exchange.upstream = upstream_part("-", cluster.name, "-")
        if cluster.known:
            exchange.answer(503, "UH", "no_healthy_upstream", replies.NO_ENDPOINT)
        else:
            exchange.answer(not_found(exchange), "NC", "cluster_not_found", replies.NO_CLUSTER)
        return
    if not cluster.breakers.default.take(Resource.REQUESTS):
        overflow(exchange)
        return
    exchange.endpoint = exchange.visited = endpoint
    endpoint.begin()
    upstream = endpoint.share() if exchange.http2 else endpoint.take()
    if upstream is None:
        connect(exchange, endpoint)
    else:
        upstream.begin(exchange)


def overflow(exchange: Exchange) -> None:
    """The cluster has as much as it may have."""
    assert exchange.cluster is not None
    exchange.upstream = upstream_part("-", exchange.cluster.name, "-")
    exchange.more = (*exchange.more, (b"x-envoy-overloaded", b"true"))
    exchange.answer(503, "UO", "overflow", replies.OVERFLOW)


def not_found(exchange: Exchange) -> int:
    """The status that the route has for a cluster that isn't there."""
    action = exchange.plan.route.action if exchange.plan.route else None
    return action.not_found if isinstance(action, Forward) else 503


def connect(exchange: Exchange, endpoint: Member) -> None:
    """Have a connection made; what comes of the body meanwhile stays with the client.

    There may be so many at a time; beyond that, requests wait for one, or for a
    stream on one (see join).
    """
    breaker = endpoint.cluster.breakers.default
    if not breaker.take(Resource.PENDING):
        leave(exchange, None)
        overflow(exchange)
        return
    exchange.waits = True
    if not exchange.complete:
        exchange.down.hold(CONNECTING)
    if exchange.http2:
        join(exchange.worker, endpoint, exchange)
    elif breaker.has_room(Resource.CONNECTIONS):
        breaker.take(Resource.CONNECTIONS)
        exchange.worker.tasks.spawn(open_http1(exchange.worker, endpoint, exchange), "connect")
    elif (upstream := endpoint.cluster.take_idle(exchange.tried)) is not None:
        exchange.moved_to(upstream.endpoint)
        upstream.begin(exchange)
        exchange.down.release(CONNECTING)
    else:
        endpoint.cluster.queue.append(exchange)
