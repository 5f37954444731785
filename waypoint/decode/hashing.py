"""What keeps clients with endpoints: Envoy's HashPolicy."""

from __future__ import annotations

from envoy.config.route.v3 import route_components_pb2

from waypoint.decode.fields import only, seconds, text
from waypoint.decode.text import substitution
from waypoint.errors import RouteError
from waypoint.routing.hashing import (
    HashCookie,
    HashHeader,
    HashPolicy,
    HashQuery,
    HashSource,
)

POLICY = {"header", "cookie", "connection_properties", "query_parameter", "terminal"}


def hash_policy(message: route_components_pb2.RouteAction.HashPolicy, at: str) -> HashPolicy:
    """Decode one HashPolicy."""
    only(message, POLICY, at)
    terminal = message.terminal
    match message.WhichOneof("policy_specifier"):
        case "header":
            header = message.header
            only(header, {"header_name", "regex_rewrite"}, f"{at}header.")
            rewrite = None
            if header.HasField("regex_rewrite"):
                rewrite = substitution(header.regex_rewrite, f"{at}header.regex_rewrite.")
            return HashHeader(header.header_name.lower().encode(), rewrite, terminal)
        case "cookie":
            return cookie(message.cookie, terminal, f"{at}cookie.")
        case "connection_properties":
            properties = message.connection_properties
            only(properties, {"source_ip"}, f"{at}connection_properties.")
            if not properties.source_ip:
                raise RouteError(f"{at}connection_properties: only source_ip is supported")
            return HashSource(terminal)
        case "query_parameter":
            only(message.query_parameter, {"name"}, f"{at}query_parameter.")
            return HashQuery(message.query_parameter.name.encode(), terminal)
        case _:
            raise RouteError(f"{at}policy_specifier is missing")


def cookie(
    message: route_components_pb2.RouteAction.HashPolicy.Cookie, terminal: bool, at: str
) -> HashCookie:
    """Decode a Cookie."""
    only(message, {"name", "ttl", "path", "attributes"}, at)
    for attribute in message.attributes:
        only(attribute, {"name", "value"}, f"{at}attributes.")
    lifetime = seconds(message, "ttl", at)
    return HashCookie(
        name=text(message.name, f"{at}name"),
        lifetime=None if lifetime is None else int(lifetime),
        path=text(message.path, f"{at}path"),
        attributes=tuple(
            (text(a.name, f"{at}attributes"), text(a.value, f"{at}attributes"))
            for a in message.attributes
        ),
        terminal=terminal,
    )
