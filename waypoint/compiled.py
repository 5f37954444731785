"""A target's configuration as it is compiled, with the last good one in a bad one's place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waypoint.decode import TYPE_URL, decode_table
from waypoint.errors import RouteError
from waypoint.filters.chain import NO_CHAIN, Chain
from waypoint.filters.decode import TYPE_URL as FILTERS_URL
from waypoint.filters.decode import decode_chain
from waypoint.filters.refuse_all import refusing_chain
from waypoint.filters.registry import Kinds
from waypoint.routing import (
    DirectResponse,
    Route,
    RouteTable,
    VirtualHost,
    default_table,
)
from waypoint.streams import CLOSED, StreamTable, decode_streams
from waypoint.streams import TYPE_URL as STREAMS_URL
from ztunnel_compat.model import Extension, Service

if TYPE_CHECKING:
    from waypoint.targets import Target


def extension(service: Service, name: str) -> Extension | None:
    """A service's extension of a name."""
    return next((e for e in service.extensions if e.name == name), None)


def compile_streams(
    source: Extension | None, old: Target | None
) -> tuple[StreamTable | None, str]:
    """What applies to what isn't HTTP, and what is wrong with it; see compile_table."""
    if source is None:
        return None, ""
    try:
        if source.type_url != STREAMS_URL:
            raise RouteError(f"holds {source.type_url!r}, not {STREAMS_URL!r}")
        return decode_streams(source.value), ""
    except RouteError as error:
        return (old.streams if old and old.streams else CLOSED), str(error)


def compile_filters(
    source: Extension | None, old: Target | None, kinds: Kinds
) -> tuple[Chain, str]:
    """The filters before the routes, and what is wrong with them; see compile_table."""
    if source is None:
        return NO_CHAIN, ""
    try:
        if source.type_url != FILTERS_URL:
            raise RouteError(f"holds {source.type_url!r}, not {FILTERS_URL!r}")
        return decode_chain(source.value, kinds), ""
    except RouteError as error:
        kept = old is not None and old.filter_source is not None
        return (old.chain if old is not None and kept else refusing_chain()), str(error)


def refusing_table(name: str) -> RouteTable:
    """What applies to routes that can't be honoured and have no predecessor.

    Sending everything to the service could pass what a route was to stop.
    """
    route = Route("invalid", DirectResponse(500, b"route configuration rejected\n"))
    return RouteTable(name, (VirtualHost("invalid", ("*",), (route,)),))


def compile_table(
    own: str, source: Extension | None, old: Target | None, kinds: Kinds
) -> tuple[RouteTable, str]:
    """The table for a configuration, and what is wrong with it, or nothing.

    Configuration that can't be honoured leaves the last good one in force. own: the
    port's cluster, for a port without one.
    """
    if source is None:
        return default_table(own), ""
    try:
        if source.type_url != TYPE_URL:
            raise RouteError(f"holds {source.type_url!r}, not {TYPE_URL!r}")
        return decode_table(source.value, kinds), ""
    except RouteError as error:
        return old.table if old else refusing_table(source.name), str(error)
