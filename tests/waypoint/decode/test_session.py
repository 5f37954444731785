from __future__ import annotations

from typing import Any

import pytest
from envoy.config.route.v3 import route_pb2
from google.protobuf import json_format

from waypoint.decode import decode_table
from waypoint.errors import RouteError
from waypoint.routing import Forward
from waypoint.routing.session import Session

FILTERS = "type.googleapis.com/envoy.extensions"
PER_ROUTE = f"{FILTERS}.filters.http.stateful_session.v3.StatefulSessionPerRoute"
STATE = f"{FILTERS}.http.stateful_session"


def cookie(**fields: Any) -> dict[str, Any]:
    kind = f"{STATE}.cookie.v3.CookieBasedSessionState"
    return {"name": "c", "typedConfig": {"@type": kind, "cookie": fields}}


def header(name: str) -> dict[str, Any]:
    kind = f"{STATE}.header.v3.HeaderBasedSessionState"
    return {"name": "h", "typedConfig": {"@type": kind, "name": name}}


def decoded(config: dict[str, Any], idle: dict[str, Any] | None = None) -> Session | None:
    own = {"envoy.filters.http.stateful_session": {"@type": PER_ROUTE, **config}}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "c"}, "typedPerFilterConfig": own}
    if idle is not None:
        route["metadata"] = {"filterMetadata": {"tandem.io/session": idle}}
    host = {"name": "h", "domains": ["*"], "routes": [route]}
    message = json_format.ParseDict({"virtualHosts": [host]}, route_pb2.RouteConfiguration())
    action = decode_table(message.SerializeToString()).hosts[0].routes[0].action
    assert isinstance(action, Forward)
    return action.session


@pytest.mark.parametrize(
    ("config", "session"),
    [
        ({"disabled": True}, None),
        ({"statefulSession": {"sessionState": cookie(name="Who")}}, Session(b"Who")),
        (
            {"statefulSession": {"sessionState": cookie(name="a", ttl="90s", path="/p")}},
            Session(b"a", lifetime=90, path=b"/p"),
        ),
        (
            {"statefulSession": {"sessionState": header("X-Who")}},
            Session(b"x-who", header=True),
        ),
    ],
)
def test_sessions(config: dict[str, Any], session: Session | None) -> None:
    assert decoded(config) == session


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"statefulSession": {"sessionState": cookie(name="a"), "strict": True}}, "strict"),
        ({"statefulSession": {"sessionState": cookie(name="a b")}}, "cookie.name"),
        ({"statefulSession": {"sessionState": header("")}}, "name"),
        ({"statefulSession": {}}, "session_state"),
    ],
)
def test_what_cannot_be_honoured_is_named(config: dict[str, Any], named: str) -> None:
    with pytest.raises(RouteError, match=named):
        decoded(config)


@pytest.mark.parametrize("state", [cookie(name="a"), header("a")])
def test_how_long_a_session_may_go_unused(state: dict[str, Any]) -> None:
    found = decoded({"statefulSession": {"sessionState": state}}, {"idle_seconds": 30})
    assert found is not None
    assert found.idle == 30


@pytest.mark.parametrize(
    "idle",
    [
        {"idle_seconds": 0}, {"idle_seconds": -1}, {"idle_seconds": 1.5}, {"idle_seconds": "5"},
        {"idle_seconds": True}, {"idle_seconds": 1e12}, {"seconds": 5}, {},
        {"idle_seconds": 5, "more": 1},
    ],
)  # fmt: skip
def test_a_bad_idle_time_is_named(idle: dict[str, Any]) -> None:
    with pytest.raises(RouteError, match=r"tandem\.io/session"):
        decoded({"statefulSession": {"sessionState": cookie(name="a")}}, idle)
