"""Answers of the waypoint's own: Envoy's RedirectAction and DirectResponseAction."""

from __future__ import annotations

from envoy.config.route.v3 import route_components_pb2

from waypoint.decode.fields import final_status, only, path_text, text
from waypoint.decode.rewrites import path_rewrite
from waypoint.errors import RouteError
from waypoint.routing.actions import DirectResponse, Redirect

REDIRECT = {
    "https_redirect", "scheme_redirect", "host_redirect", "port_redirect", "path_redirect",
    "prefix_rewrite", "regex_rewrite", "response_code", "strip_query",
}  # fmt: skip
#: RedirectAction.RedirectResponseCode → status.
STATUSES = {0: 301, 1: 302, 2: 303, 3: 307, 4: 308}


def redirect(
    message: route_components_pb2.RedirectAction,
    match: route_components_pb2.RouteMatch,
    at: str,
) -> Redirect:
    """Decode a RedirectAction; match: of its route."""
    only(message, REDIRECT, at)
    if (status := STATUSES.get(message.response_code)) is None:
        raise RouteError(f"{at}response_code {message.response_code} is not known here")
    if message.port_redirect > 65535:
        raise RouteError(f"{at}port_redirect {message.port_redirect} is not a port")
    scheme = "https" if message.https_redirect else message.scheme_redirect
    return Redirect(
        status=status,
        scheme=text(scheme, f"{at}scheme_redirect") or None,
        host=text(message.host_redirect, f"{at}host_redirect") or None,
        port=message.port_redirect or None,
        path=path_text(message.path_redirect, f"{at}path_redirect") or None,
        rewrite=path_rewrite(message, match, at),
        strip_query=message.strip_query,
    )


def direct_response(
    message: route_components_pb2.DirectResponseAction, at: str, limit: int
) -> DirectResponse:
    """Decode a DirectResponseAction with an inline body of up to limit bytes."""
    only(message, {"status", "body"}, at)
    status = final_status(message.status, f"{at}status")
    body = message.body
    only(body, {"inline_string", "inline_bytes"}, f"{at}body.")
    content = body.inline_bytes or body.inline_string.encode()
    if len(content) > limit:
        raise RouteError(f"{at}body has {len(content)} bytes, more than {limit}")
    return DirectResponse(status, content)
