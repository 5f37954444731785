"""What becomes of paths and authorities."""

from __future__ import annotations

from typing import Any

from envoy.config.route.v3 import route_components_pb2

from waypoint.decode.fields import header_name, path_text, text
from waypoint.decode.text import substitution
from waypoint.errors import RouteError
from waypoint.routing.rewrites import (
    HostFromHeader,
    HostFromPath,
    HostLiteral,
    HostRewrite,
    PathRewrite,
    PatternRewrite,
    PrefixRewrite,
)


def path_rewrite(
    message: Any, match: route_components_pb2.RouteMatch, at: str
) -> PathRewrite | None:
    """The prefix_rewrite or regex_rewrite of an action; match: of its route."""
    if message.HasField("regex_rewrite"):
        if message.prefix_rewrite:
            raise RouteError(f"{at}prefix_rewrite is set beside regex_rewrite")
        path_text(message.regex_rewrite.substitution, f"{at}regex_rewrite.substitution")
        return PatternRewrite(substitution(message.regex_rewrite, f"{at}regex_rewrite."))
    if not message.prefix_rewrite:
        return None
    by = path_text(message.prefix_rewrite, f"{at}prefix_rewrite")
    specifier = match.WhichOneof("path_specifier")
    if specifier == "safe_regex":
        return PrefixRewrite(by, None)
    return PrefixRewrite(by, len(getattr(match, specifier).encode()))


def host_rewrite(message: route_components_pb2.RouteAction, at: str) -> HostRewrite | None:
    """The host_rewrite_specifier of an action."""
    match message.WhichOneof("host_rewrite_specifier"):
        case "host_rewrite_literal" if message.host_rewrite_literal:
            return HostLiteral(text(message.host_rewrite_literal, f"{at}host_rewrite_literal"))
        case "host_rewrite_header":
            name = header_name(message.host_rewrite_header, f"{at}host_rewrite_header")
            return HostFromHeader(name)
        case "host_rewrite_path_regex":
            where = f"{at}host_rewrite_path_regex."
            return HostFromPath(substitution(message.host_rewrite_path_regex, where))
        case _:
            return None
