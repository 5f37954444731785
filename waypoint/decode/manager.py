"""Bounds of Envoy's HttpConnectionManager, as far as they are a port's own."""

from __future__ import annotations

from typing import Any

from waypoint.decode.fields import bounded, only, seconds, wrapped
from waypoint.errors import RouteError
from waypoint.filters.admission import HeadBounds
from waypoint.layers.headers import FIELD_LIMIT, HEAD_LIMIT
from waypoint.routing.defaults import Defaults

#: What read_bounds and read_defaults look at.
BOUNDS = {
    "stream_idle_timeout", "request_timeout", "max_request_headers_kb",
    "common_http_protocol_options",
}  # fmt: skip
COMMON = "common_http_protocol_options."
#: A connection is there before its requests, and its bounds are the same for all.
CONNECTIONS = {"idle_timeout", "max_connection_duration", "max_requests_per_connection"}


def read_bounds(message: Any) -> HeadBounds | None:
    """How large heads may be, None: as large as a connection takes them; raises RouteError."""
    kib = wrapped(message, "max_request_headers_kb", None)
    if kib is not None:
        bounded(kib, 1, HEAD_LIMIT >> 10, "max_request_headers_kb")
    fields = wrapped(message.common_http_protocol_options, "max_headers_count", None)
    if fields is not None:
        bounded(fields, 1, FIELD_LIMIT, f"{COMMON}max_headers_count")
    if kib is None and fields is None:
        return None
    return HeadBounds(fields or FIELD_LIMIT, (kib << 10) if kib else HEAD_LIMIT)


def read_defaults(message: Any) -> Defaults:
    """What holds where routes say nothing; raises RouteError."""
    common = message.common_http_protocol_options
    for name in CONNECTIONS:
        if common.HasField(name):
            raise RouteError(
                f"{COMMON}{name} is not supported: it bounds a connection, and those are "
                "bounded alike whatever they are for"
            )
    only(common, {"max_headers_count", "max_stream_duration"}, COMMON)
    return Defaults(
        seconds(message, "stream_idle_timeout", ""),
        seconds(common, "max_stream_duration", COMMON) or None,
        seconds(message, "request_timeout", "") or None,
    )
