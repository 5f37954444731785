"""Where a request goes: which of its route's clusters, and which endpoint of that."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from waypoint.clusters import Cluster
from waypoint.member import Member
from waypoint.plan import Plan
from waypoint.routing import Forward, affinity
from waypoint.routing.session import remembered

if TYPE_CHECKING:
    from waypoint.exchange import Exchange


def choose(exchange: Exchange, plan: Plan) -> None:
    """Decide to which cluster it goes, and so in which protocol."""
    ways = plan.ways
    if len(ways) == 1:
        way = ways[0]
    else:
        assert plan.route is not None
        assert isinstance(plan.route.action, Forward)
        way = ways[plan.route.action.choose(draw(exchange))]
    assert plan.route is not None
    action = plan.route.action
    assert isinstance(action, Forward)
    if action.session is not None:
        exchange.session = had = remembered(plan.head.request, action.session, time.time())
        # Weights are for who has no endpoint yet.
        way = next((each for each in ways if had and each.cluster.member(had)), way)
    exchange.way = way
    cluster = exchange.cluster = way.cluster
    http2 = cluster.http2
    if http2 is None:
        http2 = plan.http2
    if http2:
        exchange.http2 = True
        exchange.raw = False
    exchange.policy = action.retry
    if plan.mirrors:
        exchange.raw = False
    if action.hash_policy:
        remote = exchange.down.caller.remote
        address = remote[0] if remote else ""
        fresh = exchange.worker.ids.next().encode()
        found = affinity(way.request, action.hash_policy, address, fresh)
        exchange.hash_key = found.number
        exchange.more = (*exchange.more, *found.fields)


def draw(exchange: Exchange) -> float:
    """The number that decides between clusters, the same however often it is asked."""
    if exchange.drawn is None:
        exchange.drawn = exchange.worker.random()
    return exchange.drawn


def pick(exchange: Exchange, cluster: Cluster) -> Member | None:
    """An endpoint for what had one before: another than what failed, where there is one, and
    the session's.
    """
    drawn = exchange.worker.random()
    if not exchange.tried:
        if exchange.session:
            had = cluster.member(exchange.session)
            if had is not None and had.healthy:
                return had
        return cluster.pick(drawn, exchange.hash_key)
    assert exchange.policy is not None
    other = cluster.pick(
        drawn, exchange.hash_key, exchange.tried, exchange.policy.host_selection_attempts
    )
    return other or cluster.pick(drawn, exchange.hash_key)
