"""Where a client is sent, in Envoy's way."""

from __future__ import annotations

from waypoint.messages import Request, Response
from waypoint.routing.actions import Redirect
from waypoint.routing.rewrites import with_path

DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}


def redirection(request: Request, redirect: Redirect) -> Response:
    """The answer that sends a client elsewhere."""
    return Response(redirect.status, ((b"location", location(request, redirect)),))


def location(request: Request, redirect: Redirect) -> bytes:
    """The URL that a client is sent to."""
    scheme = redirect.scheme or request.scheme
    port = b":%d" % redirect.port if redirect.port else b""
    host = redirect.host or host_of(request, scheme, replace_port=bool(port))
    return scheme + b"://" + host + port + path_of(request, redirect)


def host_of(request: Request, scheme: bytes, *, replace_port: bool) -> bytes:
    """The request's authority, without a port that another one takes the place of.

    A port that was only there because it is the old scheme's goes with the scheme.
    """
    host, colon, port = request.authority.rpartition(b":")
    if not colon or port.endswith(b"]"):
        return request.authority
    stale = scheme != request.scheme and colon + port == DEFAULT_PORTS.get(request.scheme)
    return host if replace_port or stale else request.authority


def path_of(request: Request, redirect: Redirect) -> bytes:
    """The path and query of the URL."""
    if redirect.path is not None:
        # A query in the configuration takes the place of the client's.
        if b"?" in redirect.path:
            return redirect.path
        path, query = redirect.path, b"".join(request.path.partition(b"?")[1:])
    else:
        if redirect.rewrite is not None:
            request = with_path(request, redirect.rewrite)
        path, mark, query = request.path.partition(b"?")
        query = mark + query
        if path[:1] != b"/":
            path = b"/" + path
    return path if redirect.strip_query else path + query
