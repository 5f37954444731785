"""Buffer filters, from Envoy's messages."""

from __future__ import annotations

from typing import Any

from envoy.extensions.filters.http.buffer.v3 import buffer_pb2 as pb

from waypoint.decode.fields import only
from waypoint.errors import RouteError
from waypoint.filters.buffer import MOST, Buffer
from waypoint.filters.chain import DISABLED


def build(name: str, value: bytes, at: str) -> Buffer:
    """Decode a Buffer; raises RouteError."""
    return Buffer(name, bound(pb.Buffer.FromString(value), at))


def bound(message: pb.Buffer, at: str) -> int:
    """Its bytes; raises RouteError."""
    only(message, {"max_request_bytes"}, at)
    most: int = message.max_request_bytes.value
    if not 0 < most <= MOST:
        raise RouteError(f"{at}max_request_bytes {most} is not from 1 to {MOST}")
    return most


def per_route(value: bytes, at: str) -> Any:
    """Decode a BufferPerRoute; raises RouteError."""
    message = pb.BufferPerRoute.FromString(value)
    only(message, {"disabled", "buffer"}, at)
    return DISABLED if message.disabled else bound(message.buffer, f"{at}buffer.")
