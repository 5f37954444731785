"""RouteConfigurations from their JSON, decoded."""

from __future__ import annotations

from typing import Any

from envoy.config.route.v3 import route_pb2
from google.protobuf import json_format

from waypoint.decode.table import decode_table
from waypoint.routing import Forward, Route, RouteTable

#: A route action, and a match, that say as little as possible.
TO_C = {"cluster": "c"}
ANY = {"prefix": "/"}


def decode(
    *routes: dict[str, Any], host: dict[str, Any] | None = None, **more: Any
) -> RouteTable:
    """A table of one virtual host."""
    hosts = [{"name": "h", "domains": ["*"], "routes": list(routes), **(host or {})}]
    message = route_pb2.RouteConfiguration()
    json_format.ParseDict({"name": "n", "virtualHosts": hosts, **more}, message)
    return decode_table(message.SerializeToString())


def sole(entry: dict[str, Any], **more: Any) -> Route:
    """The route of a table that has one; entry: without a match, it takes everything."""
    if entry.keys().isdisjoint({"redirect", "direct_response", "directResponse", "route"}):
        entry = {**entry, "route": TO_C}
    return decode({"match": ANY, **entry}, **more).hosts[0].routes[0]


def forward(action: dict[str, Any], **more: Any) -> Forward:
    """What a RouteAction comes to; it goes to cluster c unless it says otherwise."""
    made = sole(
        {"route": {**({} if "weighted_clusters" in action else TO_C), **action}}, **more
    )
    assert isinstance(made.action, Forward)
    return made.action
