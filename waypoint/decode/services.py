"""Servers that filters ask: Envoy's GrpcService."""

from __future__ import annotations

from typing import Any

from envoy.config.core.v3.config_source_pb2 import AUTO, V2, V3

from waypoint.decode.fields import each, header_name, only, seconds, text
from waypoint.errors import RouteError
from waypoint.filters.unary import GrpcService
from waypoint.messages import Field

GRPC = {"envoy_grpc", "timeout", "initial_metadata"}


def grpc_service(message: Any, default: float, at: str) -> GrpcService:
    """Decode a GrpcService; default: its timeout in seconds where it has none."""
    only(message, GRPC, at)
    only(message.envoy_grpc, {"cluster_name", "authority"}, f"{at}envoy_grpc.")
    name = message.envoy_grpc.cluster_name
    if not name:
        raise RouteError(f"{at}envoy_grpc.cluster_name is missing")
    authority = message.envoy_grpc.authority or name.rpartition("|")[2]
    return GrpcService(
        name,
        text(authority, f"{at}envoy_grpc.authority"),
        limit(message, default, at),
        each(message.initial_metadata, f"{at}initial_metadata", header),
    )


def only_v3(version: int, at: str) -> None:
    """Raise RouteError where a server is to be asked in another version than Envoy's v3."""
    if version not in {AUTO, V3}:
        shown = "V2" if version == V2 else version
        raise RouteError(f"{at}transport_api_version {shown} is not V3")


def limit(message: Any, default: float, at: str) -> float:
    """A timeout in seconds; one of 0 would let nobody answer."""
    found = seconds(message, "timeout", at)
    if found == 0:
        raise RouteError(f"{at}timeout is 0: nobody could answer")
    return default if found is None else found


def header(message: Any, at: str) -> Field:
    """Decode a HeaderValue whose value is taken as it is written."""
    only(message, {"key", "value"}, at)
    if "%" in message.value:
        raise RouteError(f"{at}value {message.value!r}: commands are not supported here")
    return header_name(message.key, f"{at}key"), text(message.value, f"{at}value")
