"""Envoy's stateful_session: routes that keep a client with its endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.config.core.v3.base_pb2 import Metadata
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
IDLE = "tandem.io/session"
MOST_SECONDS = 1 << 31
HEADER = "envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState"


def session(configs: Mapping[str, Any], metadata: Metadata, at: str) -> Session | None:
    """A route's session, None: it has none; raises RouteError. metadata: the route's."""
    if FILTER not in configs:
        return None
    idle = idle_seconds(metadata, f"{at}metadata[{IDLE}]")
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
                idle=idle,
            )
        case t if t == HEADER:
            header = unpacked(state.typed_config, HeaderBasedSessionState, at)
            return Session(header_name(header.name, f"{at}name"), header=True, idle=idle)
        case other:
            raise RouteError(f"{at}session_state ({other}) is not supported")


def idle_seconds(metadata: Metadata, at: str) -> int:
    """How long a session may go unused, 0: for ever; raises RouteError.

    Envoy's sessions know nothing of that, so it stands in the route's metadata.
    """
    found = metadata.filter_metadata.get(IDLE)
    if found is None:
        return 0
    values = dict(found.items())
    seconds = values.get("idle_seconds")
    if len(values) == 1 and isinstance(seconds, float) and 1 <= seconds <= MOST_SECONDS:
        whole = int(seconds)
        if whole == seconds:
            return whole
    raise RouteError(f"{at} {values}: not idle_seconds, from 1 to {MOST_SECONDS}")


def token(value: str, at: str) -> bytes:
    """A cookie's name; raises RouteError where it is none."""
    header_name(value, at)
    return value.encode()
