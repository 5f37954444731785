"""Chains of filters, from Envoy's HttpConnectionManager.

Of the manager only what decides here may be set: its filters, in their order, what it
does to requests before them, and such bounds as are a port's own.
"""

from __future__ import annotations

from typing import Any

from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as pb,
)
from google.protobuf.message import DecodeError

from waypoint.decode.fields import each, only, parsed
from waypoint.decode.manager import BOUNDS, read_bounds, read_defaults
from waypoint.errors import RouteError
from waypoint.filters.admission import Admission, ClientCert
from waypoint.filters.chain import Chain, Placed
from waypoint.filters.registry import Kinds
from waypoint.routing.normalize import EscapedSlashes, Paths

TYPE_URL = (
    "type.googleapis.com/"
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
MANAGER = {
    "stat_prefix", "http_filters", "normalize_path", "merge_slashes",
    "path_with_escaped_slashes_action", "forward_client_cert_details",
    "set_current_client_cert_details",
} | BOUNDS  # fmt: skip
ESCAPED_SLASHES = {
    pb.HttpConnectionManager.IMPLEMENTATION_SPECIFIC_DEFAULT: EscapedSlashes.KEEP,
    pb.HttpConnectionManager.KEEP_UNCHANGED: EscapedSlashes.KEEP,
    pb.HttpConnectionManager.REJECT_REQUEST: EscapedSlashes.REJECT,
    pb.HttpConnectionManager.UNESCAPE_AND_REDIRECT: EscapedSlashes.REDIRECT,
    pb.HttpConnectionManager.UNESCAPE_AND_FORWARD: EscapedSlashes.FORWARD,
}
CLIENT_CERTS = {
    pb.HttpConnectionManager.SANITIZE: ClientCert.SANITIZE,
    pb.HttpConnectionManager.FORWARD_ONLY: ClientCert.FORWARD_ONLY,
    pb.HttpConnectionManager.APPEND_FORWARD: ClientCert.APPEND_FORWARD,
    pb.HttpConnectionManager.SANITIZE_SET: ClientCert.SANITIZE_SET,
    pb.HttpConnectionManager.ALWAYS_FORWARD_ONLY: ClientCert.ALWAYS_FORWARD_ONLY,
}
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
    message = parsed(pb.HttpConnectionManager, value)
    only(message, MANAGER, "")
    placed = each(message.http_filters, "http_filters", lambda f, at: read_filter(f, at, kinds))
    filters = tuple(found for found in placed if found is not None)
    return Chain(filters, read_admission(message), read_defaults(message))


def read_admission(message: Any) -> Admission:
    """How requests come in; paths are normalised unless it is said that they aren't."""
    escaped = ESCAPED_SLASHES.get(message.path_with_escaped_slashes_action)
    if escaped is None:
        value = message.path_with_escaped_slashes_action
        raise RouteError(f"path_with_escaped_slashes_action {value} is not known here")
    cert = CLIENT_CERTS.get(message.forward_client_cert_details)
    if cert is None:
        value = message.forward_client_cert_details
        raise RouteError(f"forward_client_cert_details {value} is not known here")
    only(message.set_current_client_cert_details, {"uri"}, "set_current_client_cert_details.")
    return Admission(
        Paths(
            normalize=message.normalize_path.value or not message.HasField("normalize_path"),
            merge_slashes=message.merge_slashes,
            escaped_slashes=escaped,
        ),
        cert,
        message.set_current_client_cert_details.uri,
        read_bounds(message),
    )


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
        raise RouteError(f"{at}typed_config: not a {kind}: {error}") from error
    # What does nothing by itself stands only where a route says otherwise.
    inert = getattr(built, "inert", False)
    return Placed(built, enabled=not message.disabled and not inert)
