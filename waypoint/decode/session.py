"""Envoy's stateful_session: routes that keep a client with its endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.extensions.filters.http.stateful_session.v3.stateful_session_pb2 import (
    StatefulSessionPerRoute,
)
from envoy.extensions.http.stateful_session.cookie.v3.cookie_pb2 import CookieBasedSessionState
from envoy.extensions.http.stateful_session.header.v3.header_pb2 import HeaderBasedSessionState

from waypoint.decode.fields import header_name, only, path_text, seconds, unpacked
from waypoint.errors import RouteError
from waypoint.routing.session import Session

FILTER = "envoy.filters.http.stateful_session"
COOKIE = "envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState"
HEADER = "envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState"


def session(configs: Mapping[str, Any], at: str) -> Session | None:
    """A route's session, None: it has none; raises RouteError."""
    if FILTER not in configs:
        return None
    at += f"typed_per_filter_config[{FILTER}]."
    message = unpacked(configs[FILTER], StatefulSessionPerRoute, at)
    only(message, {"disabled", "stateful_session"}, at)
    if not message.HasField("stateful_session"):
        return None
    at += "stateful_session."
    only(message.stateful_session, {"session_state"}, at)
    state = message.stateful_session.session_state
    match state.typed_config.TypeName():
        case t if t == COOKIE:
            cookie = unpacked(state.typed_config, CookieBasedSessionState, at).cookie
            only(cookie, {"name", "ttl", "path"}, f"{at}cookie.")
            lifetime = seconds(cookie, "ttl", f"{at}cookie.") or 0.0
            return Session(
                name=token(cookie.name, f"{at}cookie.name"),
                lifetime=int(lifetime),
                path=path_text(cookie.path, f"{at}cookie.path") or b"/",
            )
        case t if t == HEADER:
            header = unpacked(state.typed_config, HeaderBasedSessionState, at)
            return Session(header_name(header.name, f"{at}name"), header=True)
        case other:
            raise RouteError(f"{at}session_state ({other}) is not supported")


def token(value: str, at: str) -> bytes:
    """A cookie's name; raises RouteError where it is none."""
    header_name(value, at)
    return value.encode()
