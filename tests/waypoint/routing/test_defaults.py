from __future__ import annotations

from waypoint.messages import Request
from waypoint.routing import DirectResponse, Forward, Route, RouteTable, VirtualHost
from waypoint.routing.actions import WeightedCluster
from waypoint.routing.defaults import NO_DEFAULTS, Defaults, with_defaults

SHARES = (WeightedCluster("c", 1),)
REQUEST = Request(b"GET", b"http", b"web", b"/", ())


def table(action: Forward | DirectResponse) -> RouteTable:
    return RouteTable("t", (VirtualHost("h", ("*",), (Route("r", action),)),))


def action_of(found: RouteTable) -> object:
    route = found.match(REQUEST)
    assert route is not None
    return route.action


def test_without_any_the_table_is_itself() -> None:
    made = table(Forward(SHARES))
    assert with_defaults(made, NO_DEFAULTS) is made


def test_routes_that_say_nothing_get_them() -> None:
    found = action_of(with_defaults(table(Forward(SHARES)), Defaults(1.0, 2.0, 3.0)))
    assert found == Forward(SHARES, idle_timeout=1.0, stream_limit=2.0, request_timeout=3.0)


def test_what_a_route_says_counts() -> None:
    said = Forward(SHARES, idle_timeout=0.0, stream_limit=9.0)
    assert action_of(with_defaults(table(said), Defaults(1.0, 2.0))) == said


def test_answers_have_no_use_for_them() -> None:
    said = DirectResponse(200)
    assert action_of(with_defaults(table(said), Defaults(1.0, 2.0, 3.0))) is said
