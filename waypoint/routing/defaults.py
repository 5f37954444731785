"""What holds for the requests of a port whose routes say nothing of it: pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from waypoint.routing.actions import Forward
from waypoint.routing.table import Route, RouteTable


@dataclass(frozen=True, slots=True)
class Defaults:
    """Times in seconds, as Forward has them; None: not said."""

    idle_timeout: float | None = None
    stream_limit: float | None = None
    request_timeout: float | None = None


NO_DEFAULTS = Defaults()


def with_defaults(table: RouteTable, defaults: Defaults) -> RouteTable:
    """A table whose routes all say it; the same one, where there is nothing to say."""
    if defaults == NO_DEFAULTS:
        return table
    hosts = tuple(
        replace(host, routes=tuple(filled(route, defaults) for route in host.routes))
        for host in table.hosts
    )
    return replace(table, hosts=hosts)


def filled(route: Route, defaults: Defaults) -> Route:
    """A route that says it, where it forwards requests."""
    action = route.action
    if not isinstance(action, Forward):
        return route
    idle, limit = action.idle_timeout, action.stream_limit
    full = replace(
        action,
        idle_timeout=defaults.idle_timeout if idle is None else idle,
        stream_limit=defaults.stream_limit if limit is None else limit,
        request_timeout=defaults.request_timeout,
    )
    return replace(route, action=full)
