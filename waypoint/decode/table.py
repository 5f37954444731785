"""Envoy's RouteConfiguration, VirtualHost and Route."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.cors.v3.cors_pb2 import CorsPolicy

from waypoint.decode import edits
from waypoint.decode.answers import direct_response, redirect
from waypoint.decode.cors import cors, filter_policy
from waypoint.decode.fields import each, only, parsed
from waypoint.decode.forward import Inherited, forward, mirrors
from waypoint.decode.limits import rate_limits
from waypoint.decode.match import route_match
from waypoint.decode.overrides import overrides
from waypoint.decode.retry import retry_policy
from waypoint.decode.session import FILTER as SESSION
from waypoint.decode.session import session
from waypoint.errors import RouteError
from waypoint.filters.registry import NO_KINDS, Kinds
from waypoint.routing.actions import Action, Forward
from waypoint.routing.edits import Edits
from waypoint.routing.table import Route, RouteTable, VirtualHost

TYPE_URL = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
#: RouteConfiguration.max_direct_response_body_size_bytes where it isn't set.
DIRECT_BODY_LIMIT = 4096

#: What may be set, per message. Some of it decides nothing here: metadata and
#: decorator are for other filters, validate_clusters for the control plane.
CONFIGURATION = {
    "validate_clusters", "metadata",
    "name", "virtual_hosts", "ignore_port_in_host_matching",
    "max_direct_response_body_size_bytes", "most_specific_header_mutations_wins",
    "request_mirror_policies", "typed_per_filter_config",
} | edits.FIELDS  # fmt: skip
VIRTUAL_HOST = {
    "metadata", "name", "domains", "routes", "retry_policy", "request_mirror_policies",
    "typed_per_filter_config", "rate_limits",
} | edits.FIELDS  # fmt: skip
ROUTE = {
    "metadata", "decorator", "stat_prefix", "name", "match", "route", "redirect",
    "direct_response", "typed_per_filter_config",
} | edits.FIELDS  # fmt: skip


@dataclass(frozen=True, slots=True)
class Above:
    """What routes have from the levels above them.

    edits: to requests and to responses, the most specific level first; last_wins:
    the most specific level is the last one; limit: bytes of a direct response's body;
    overrides: for filters.
    """

    inherited: Inherited
    edits: tuple[tuple[Edits, Edits], ...]
    last_wins: bool
    limit: int
    cors: tuple[CorsPolicy | None, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    kinds: Kinds = field(default_factory=dict)


def decode_table(value: bytes, kinds: Kinds = NO_KINDS) -> RouteTable:
    """Decode and compile a serialized RouteConfiguration; raises RouteError.

    kinds: the filters that routes may have settings for.
    """
    message = parsed(route_pb2.RouteConfiguration, value)
    only(message, CONFIGURATION, "")
    limit = DIRECT_BODY_LIMIT
    if message.HasField("max_direct_response_body_size_bytes"):
        limit = message.max_direct_response_body_size_bytes.value
    above = Above(
        inherited=Inherited(mirrors=mirrors(message.request_mirror_policies, "")),
        edits=(edits.edits(message, ""),),
        last_wins=message.most_specific_header_mutations_wins,
        limit=limit,
        cors=(filter_policy(message.typed_per_filter_config, ""),),
        overrides=overrides(message.typed_per_filter_config, "", kinds),
        kinds=kinds,
    )
    hosts = each(
        message.virtual_hosts, "virtual_hosts", lambda h, at: virtual_host(h, at, above)
    )
    return RouteTable(
        message.name, hosts, message.ignore_port_in_host_matching, above.overrides
    )


def virtual_host(
    message: route_components_pb2.VirtualHost, at: str, above: Above
) -> VirtualHost:
    """Decode a VirtualHost."""
    only(message, VIRTUAL_HOST, at)
    if not message.domains:
        raise RouteError(f"{at}domains is empty")
    retry = None
    if message.HasField("retry_policy"):
        retry = retry_policy(message.retry_policy, f"{at}retry_policy.")
    copies = mirrors(message.request_mirror_policies, at) or above.inherited.mirrors
    here = Above(
        inherited=Inherited(retry, copies, rate_limits(message.rate_limits, at)),
        edits=(edits.edits(message, at), *above.edits),
        last_wins=above.last_wins,
        limit=above.limit,
        cors=(*above.cors, filter_policy(message.typed_per_filter_config, at)),
        overrides={
            **above.overrides,
            **overrides(message.typed_per_filter_config, at, above.kinds),
        },
        kinds=above.kinds,
    )
    routes = each(message.routes, f"{at}routes", lambda r, below: route(r, below, here))
    return VirtualHost(message.name, tuple(message.domains), routes)


def route(message: route_components_pb2.Route, at: str, above: Above) -> Route:
    """Decode a Route."""
    only(message, ROUTE, at)
    match = route_match(message.match, f"{at}match.")
    levels = [edits.edits(message, at), *above.edits]
    if above.last_wins:
        levels.reverse()
    policies = (*above.cors, filter_policy(message.typed_per_filter_config, at))
    rules = cors(policies, at)
    action = route_action(message, at, above)
    own = dict(message.typed_per_filter_config)
    sticky = session(own, message.metadata, at)
    own.pop(SESSION, None)
    if isinstance(action, Forward) and sticky is not None:
        action = replace(action, session=sticky)
    return Route(
        name=message.name,
        action=action,
        match=match,
        request_edits=tuple(request for request, _ in levels if request),
        response_edits=tuple(response for _, response in levels if response),
        # Answers of our own are nobody's to share (Envoy's filter leaves them alone).
        cors=rules if isinstance(action, Forward) else None,
        overrides={**above.overrides, **overrides(own, at, above.kinds)},
    )


def route_action(message: route_components_pb2.Route, at: str, above: Above) -> Action:
    """Decode a Route's action."""
    match message.WhichOneof("action"):
        case "route":
            return forward(message.route, message.match, above.inherited, f"{at}route.")
        case "redirect":
            return redirect(message.redirect, message.match, f"{at}redirect.")
        case "direct_response":
            return direct_response(
                message.direct_response, f"{at}direct_response.", above.limit
            )
        case _:
            raise RouteError(f"{at}action is missing")
