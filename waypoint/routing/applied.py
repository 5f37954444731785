"""What a route makes of a request, its copies, and the response."""

from __future__ import annotations

from waypoint.messages import Request, Response
from waypoint.routing.actions import Forward, Mirror, Redirect
from waypoint.routing.edits import Edits, edit_request, edit_response
from waypoint.routing.rewrites import with_authority, with_path
from waypoint.routing.table import Route
from waypoint.routing.templates import NO_FACTS, Facts


def rewritten(request: Request, route: Route, index: int, facts: Facts = NO_FACTS) -> Request:
    """The request as its endpoint gets it; index: of the chosen cluster.

    The cluster's part comes first; the route's rewrites come after its edits.
    """
    action = route.action
    if not isinstance(action, Forward):
        return request
    cluster = action.clusters[index]
    request = edit_request(request, (cluster.request_edits,), facts)
    if cluster.authority is not None:
        request = request._replace(authority=cluster.authority)
    request = edit_request(request, route.request_edits, facts)
    authority = action.host.apply(request) if action.host is not None else None
    if authority is not None:
        request = with_authority(request, authority, forwarded=action.tell_forwarded_host)
    return request if action.path is None else with_path(request, action.path)


def edited(
    response: Response, route: Route, index: int, request: Request, facts: Facts = NO_FACTS
) -> Response:
    """A response as its client gets it: an endpoint's, a redirect or a direct one.

    request: as ``rewritten`` left it, or as it came where it wasn't forwarded.
    """
    levels: tuple[Edits, ...] = route.response_edits
    match route.action:
        case Forward():
            levels = (route.action.clusters[index].response_edits, *levels)
        case Redirect(rewrite=rewrite) if rewrite is not None:
            request = with_path(request, rewrite)
    fields = edit_response(response.fields, request, levels, facts)
    return response._replace(fields=fields)


def mirrored(request: Request, mirror: Mirror) -> Request:
    """The copy of a request for a mirror; request: as ``rewritten`` left it."""
    if not mirror.suffix:
        return request
    host, colon, port = request.authority.rpartition(b":")
    if not colon or port.endswith(b"]"):
        return request._replace(authority=request.authority + b"-shadow")
    return request._replace(authority=host + b"-shadow:" + port)
