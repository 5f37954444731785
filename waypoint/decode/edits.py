"""Headers to add and remove, of any message that has Envoy's four fields for them."""

from __future__ import annotations

from typing import Any

from envoy.config.core.v3.base_pb2 import HeaderValueOption

from waypoint.decode.fields import each, header_name, only, text, within
from waypoint.errors import RouteError
from waypoint.routing.edits import Action, Addition, Edits
from waypoint.routing.templates import parse_template

#: The fields of configurations, virtual hosts, routes and weighted clusters.
FIELDS = frozenset(
    {
        "request_headers_to_add",
        "request_headers_to_remove",
        "response_headers_to_add",
        "response_headers_to_remove",
    }
)
#: Another value of these would make of one message two (RFC 9112 section 6).
FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection", b"upgrade"})
OPTION = {"header", "append", "append_action", "keep_empty_value"}
ACTIONS = {
    HeaderValueOption.APPEND_IF_EXISTS_OR_ADD: Action.ADD,
    HeaderValueOption.ADD_IF_ABSENT: Action.ADD_IF_ABSENT,
    HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD: Action.SET,
    HeaderValueOption.OVERWRITE_IF_EXISTS: Action.SET_IF_PRESENT,
}


def edits(message: Any, at: str) -> tuple[Edits, Edits]:
    """A level's edits to requests and to responses."""
    return side(message, "request", at), side(message, "response", at)


def side(message: Any, which: str, at: str) -> Edits:
    """A level's edits to one kind of message."""
    removing, adding = f"{which}_headers_to_remove", f"{which}_headers_to_add"
    names = [
        editable(header_name(name, f"{at}{removing}"), f"{at}{removing}")
        for name in getattr(message, removing)
    ]
    return Edits(frozenset(names), each(getattr(message, adding), f"{at}{adding}", addition))


def addition(message: HeaderValueOption, at: str) -> Addition:
    """Decode a HeaderValueOption."""
    only(message, OPTION, at)
    only(message.header, {"key", "value"}, f"{at}header.")
    if (action := ACTIONS.get(message.append_action)) is None:
        raise RouteError(f"{at}append_action {message.append_action} is not known here")
    if message.HasField("append"):
        if message.append_action:
            raise RouteError(f"{at}append is set beside append_action")
        action = Action.ADD if message.append.value else Action.SET
    text(message.header.value, f"{at}header.value")
    with within(f"{at}header.value"):
        value = parse_template(message.header.value)
    name = editable(header_name(message.header.key, f"{at}header.key"), f"{at}header.key")
    return Addition(name, value, action, message.keep_empty_value)


def editable(name: bytes, at: str) -> bytes:
    """A name, if it may be edited; raises RouteError for what frames or routes messages."""
    if name == b"host":
        raise RouteError(f"{at} host: it is rewritten by host_rewrite_literal only")
    if name in FRAMING:
        raise RouteError(f"{at} {name.decode()}: it says where messages end")
    return name
