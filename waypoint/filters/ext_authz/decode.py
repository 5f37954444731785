"""Envoy's ExtAuthz and ExtAuthzPerRoute as settings."""

from __future__ import annotations

from typing import Any

from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2 as pb

from waypoint.decode.fields import bounded, each, final_status, fraction, only, path_text
from waypoint.decode.notes import note_match
from waypoint.decode.services import grpc_service, header, limit, only_v3
from waypoint.decode.text import string_match
from waypoint.errors import RouteError
from waypoint.filters.chain import DISABLED
from waypoint.filters.ext_authz.filter import ExtAuthz
from waypoint.filters.ext_authz.settings import (
    BodySettings,
    HttpService,
    Override,
    Settings,
)
from waypoint.filters.registry import Kind
from waypoint.routing.conditions import ALL
from waypoint.routing.text import Kind as TextKind
from waypoint.routing.text import TextMatch

TYPE = pb.ExtAuthz.DESCRIPTOR.full_name
#: Seconds, where nothing is said.
TIMEOUT = 0.2
#: stat_prefix, validate_mutations and include_peer_certificate change nothing here: what
#: can't be written is an error always, and who asks is told by its proven identity.
KNOWN = {
    "grpc_service", "http_service", "transport_api_version", "failure_mode_allow",
    "failure_mode_allow_header_add", "with_request_body", "clear_route_cache",
    "status_on_error", "metadata_context_namespaces", "filter_enabled",
    "filter_enabled_metadata", "include_peer_certificate", "stat_prefix",
    "allowed_headers", "disallowed_headers", "encode_raw_headers", "validate_mutations",
}  # fmt: skip
BODY = {"max_request_bytes", "allow_partial_message", "pack_as_bytes"}
#: Bytes of a body that the server may get at most: it waits for them.
MOST_BODY = 1 << 20


def build(name: str, value: bytes, at: str) -> ExtAuthz:
    """Decode an ExtAuthz; raises RouteError."""
    message = pb.ExtAuthz.FromString(value)
    only(message, KNOWN, at)
    only_v3(message.transport_api_version, at)
    match message.WhichOneof("services"):
        case "grpc_service":
            service: Any = grpc_service(message.grpc_service, TIMEOUT, f"{at}grpc_service.")
        case "http_service":
            service = http_service(message.http_service, f"{at}http_service.")
        case _:
            raise RouteError(f"{at}grpc_service or http_service is missing")
    share, noted = ALL, None
    if message.HasField("filter_enabled"):
        share = fraction(message.filter_enabled, f"{at}filter_enabled.")
    if message.HasField("filter_enabled_metadata"):
        noted = note_match(message.filter_enabled_metadata, f"{at}filter_enabled_metadata.")
    status = final_status(message.status_on_error.code or 403, f"{at}status_on_error.code")
    settings = Settings(
        service,
        message.failure_mode_allow,
        message.failure_mode_allow_header_add,
        status,
        body(message, at),
        tuple(message.metadata_context_namespaces),
        patterns(message, "allowed_headers", at),
        patterns(message, "disallowed_headers", at) or (),
        message.encode_raw_headers,
        message.clear_route_cache,
        share,
        noted,
    )
    return ExtAuthz(name, settings)


def body(message: Any, at: str) -> BodySettings | None:
    """Decode ``with_request_body``."""
    if not message.HasField("with_request_body"):
        return None
    inner, where = message.with_request_body, f"{at}with_request_body."
    only(inner, BODY, where)
    bounded(inner.max_request_bytes, 1, MOST_BODY, f"{where}max_request_bytes")
    return BodySettings(
        inner.max_request_bytes, inner.allow_partial_message, inner.pack_as_bytes
    )


def http_service(message: Any, at: str) -> HttpService:
    """Decode an HttpService."""
    only(
        message,
        {"server_uri", "path_prefix", "authorization_request", "authorization_response"},
        at,
    )
    uri = message.server_uri
    only(uri, {"uri", "cluster", "timeout"}, f"{at}server_uri.")
    if not uri.cluster:
        raise RouteError(f"{at}server_uri.cluster is missing")
    prefix = path_text(message.path_prefix, f"{at}path_prefix")
    if prefix and prefix[:1] != b"/":
        raise RouteError(f"{at}path_prefix {message.path_prefix!r} doesn't begin with /")
    request, response = message.authorization_request, message.authorization_response
    only(request, {"headers_to_add"}, f"{at}authorization_request.")
    where = f"{at}authorization_response."
    only(
        response,
        {
            "allowed_upstream_headers",
            "allowed_upstream_headers_to_append",
            "allowed_client_headers",
            "allowed_client_headers_on_success",
        },
        where,
    )
    return HttpService(
        uri.cluster,
        limit(uri, TIMEOUT, f"{at}server_uri."),
        prefix,
        each(request.headers_to_add, f"{at}authorization_request.headers_to_add", header),
        patterns(response, "allowed_upstream_headers", where) or (),
        patterns(response, "allowed_upstream_headers_to_append", where) or (),
        patterns(response, "allowed_client_headers", where) or None,
        patterns(response, "allowed_client_headers_on_success", where) or (),
    )


def patterns(message: Any, name: str, at: str) -> tuple[TextMatch, ...] | None:
    """Decode a ListStringMatcher of names, which are in lower case here; None: not set."""
    if not message.HasField(name):
        return None
    inner = getattr(message, name)
    only(inner, {"patterns"}, f"{at}{name}.")
    return tuple(
        TextMatch(found.kind, found.text.lower()) if found.kind is not TextKind.REGEX else found
        for found in each(inner.patterns, f"{at}{name}.patterns", string_match)
    )


def override(value: bytes, at: str) -> Any:
    """Decode an ExtAuthzPerRoute; raises RouteError."""
    message = pb.ExtAuthzPerRoute.FromString(value)
    only(message, {"disabled", "check_settings"}, at)
    if message.disabled:
        return DISABLED
    inner, where = message.check_settings, f"{at}check_settings."
    only(
        inner,
        {"context_extensions", "disable_request_body_buffering", "with_request_body"},
        where,
    )
    return Override(
        dict(inner.context_extensions),
        body(inner, where),
        inner.disable_request_body_buffering,
    )


KIND = Kind(build, {pb.ExtAuthzPerRoute.DESCRIPTOR.full_name: override})
