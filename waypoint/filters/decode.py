"""Chains of filters, from Envoy's HttpConnectionManager.

Of the manager only what decides here may be set: its filters, in their order.
"""

from __future__ import annotations

from typing import Any

from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as pb,
)
from google.protobuf.message import DecodeError

from waypoint.decode.fields import each, only
from waypoint.errors import RouteError
from waypoint.filters.chain import Chain, Placed
from waypoint.filters.registry import Kinds

TYPE_URL = (
    "type.googleapis.com/"
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
MANAGER = {"stat_prefix", "http_filters"}
FILTER = {"name", "typed_config", "disabled"}
#: These have their place without being asked for: CORS acts where a route has rules,
#: and whatever passes the others is routed.
IMPLIED = {
    "envoy.extensions.filters.http.cors.v3.Cors",
    "envoy.extensions.filters.http.router.v3.Router",
}


def decode_chain(value: bytes, kinds: Kinds) -> Chain:
    """Decode a serialized HttpConnectionManager; raises RouteError.

    kinds: the filters that there are.
    """
    message = pb.HttpConnectionManager()
    try:
        message.ParseFromString(value)
    except DecodeError as error:
        raise RouteError(f"not an HttpConnectionManager: {error}") from error
    only(message, MANAGER, "")
    placed = each(message.http_filters, "http_filters", lambda f, at: read_filter(f, at, kinds))
    filters = tuple(found for found in placed if found is not None)
    names = [found.filter.name for found in filters]
    for name in names:
        if names.count(name) > 1:
            raise RouteError(f"http_filters: {name!r} is there {names.count(name)} times")
    return Chain(filters)


def read_filter(message: Any, at: str, kinds: Kinds) -> Placed | None:
    """Decode an HttpFilter; None: one that is implied."""
    only(message, FILTER, at)
    kind = message.typed_config.type_url.partition("/")[2]
    if kind in IMPLIED:
        return None
    if kind not in kinds:
        raise RouteError(f"{at}typed_config: a filter of type {kind or 'none'} is not known")
    if not message.name:
        raise RouteError(f"{at}name is empty")
    where = f"{at}typed_config."
    try:
        built = kinds[kind].build(message.name, message.typed_config.value, where)
    except DecodeError as error:
        raise RouteError(f"{where}: not a {kind}: {error}") from error
    return Placed(built, enabled=not message.disabled)
