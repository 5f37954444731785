"""Buffer filters, from Envoy's messages."""

from __future__ import annotations

from typing import Any

from envoy.extensions.filters.http.buffer.v3 import buffer_pb2 as pb

from waypoint.decode.fields import bounded, only
from waypoint.filters.buffer import MOST, Buffer
from waypoint.filters.chain import DISABLED
from waypoint.filters.registry import Kind

TYPE = pb.Buffer.DESCRIPTOR.full_name


def build(name: str, value: bytes, at: str) -> Buffer:
    """Decode a Buffer; raises RouteError."""
    return Buffer(name, limit(pb.Buffer.FromString(value), at))


def limit(message: pb.Buffer, at: str) -> int:
    """Its bytes; raises RouteError."""
    only(message, {"max_request_bytes"}, at)
    most: int = message.max_request_bytes.value
    bounded(most, 1, MOST, f"{at}max_request_bytes")
    return most


def override(value: bytes, at: str) -> Any:
    """Decode a BufferPerRoute; raises RouteError."""
    message = pb.BufferPerRoute.FromString(value)
    only(message, {"disabled", "buffer"}, at)
    return DISABLED if message.disabled else limit(message.buffer, f"{at}buffer.")


KIND = Kind(build, {pb.BufferPerRoute.DESCRIPTOR.full_name: override})
