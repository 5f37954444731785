"""What happens to a request, decided once and remembered with its head."""

from __future__ import annotations

from typing import NamedTuple

from waypoint.access_log import agent_part, authority_part, quoted, request_part
from waypoint.clusters import Cluster
from waypoint.layers.request import IDEMPOTENT, RequestHead
from waypoint.routing import Forward, Route, RouteTable
from waypoint.targets import Target


class Plan(NamedTuple):
    """A request's route, and everything about it that no second look changes.

    table: where the route is from; a plan holds only as long as that is the
    target's table. clusters: those of a Forward, in its order. wire: the head for
    the endpoint, whole when the client sent a request id, else up to where it
    goes. replayable: sending it twice is the same as once, and there is no body.
    request, agent, authority: parts of the access log's line.
    """

    table: RouteTable
    head: RequestHead
    route: Route | None
    clusters: tuple[Cluster, ...]
    wire: bytes
    needs_id: bool
    request_id: str
    is_head: bool
    replayable: bool
    keep_alive: bool
    request: str
    agent: str
    authority: str


def plan_request(head: RequestHead, target: Target) -> Plan:
    """Route a request by its target's table."""
    route = target.table.match(head)
    clusters: tuple[Cluster, ...] = ()
    if route is not None and isinstance(route.action, Forward):
        clusters = tuple(target.clusters[c.name] for c in route.action.clusters)
    needs_id = head.request_id is None
    return Plan(
        table=target.table,
        head=head,
        route=route,
        clusters=clusters,
        wire=head.forward if needs_id else head.forward + b"\r\n",
        needs_id=needs_id,
        request_id=quoted(head.request_id),
        is_head=head.method == b"HEAD",
        replayable=head.body == 0 and head.method in IDEMPOTENT,
        keep_alive=head.keep_alive,
        request=request_part(head.method, head.target),
        agent=agent_part(head.forwarded_for, head.user_agent),
        authority=authority_part(head.authority),
    )
