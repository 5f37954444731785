"""Cross-origin requests: what browsers are told (the Fetch standard, Envoy's filter)."""

from __future__ import annotations

from dataclasses import dataclass

from waypoint.messages import Field, Request, Response
from waypoint.routing.text import TextMatch

ORIGIN = b"origin"
METHOD = b"access-control-request-method"
PRIVATE = b"access-control-request-private-network"


@dataclass(frozen=True, slots=True)
class Cors:
    """Who may read what from pages of other origins.

    methods, headers, exposed, max_age: the fields' values as they are sent; empty:
    the field isn't. forward_others: preflights of origins that aren't allowed go to
    the service; else they are answered, without a permission.
    """

    origins: tuple[TextMatch, ...] = ()
    methods: bytes = b""
    headers: bytes = b""
    exposed: bytes = b""
    max_age: bytes = b""
    credentials: bool = False
    private_network: bool = False
    forward_others: bool = True

    def allows(self, origin: bytes) -> bool:
        """Whether an origin is one of those."""
        return any(match.test(b"*") or match.test(origin) for match in self.origins)


def origin_of(request: Request, cors: Cors) -> bytes | None:
    """The request's origin, if it may read the answer."""
    origin = request.header(ORIGIN)
    return origin if origin and cors.allows(origin) else None


def preflight(request: Request, cors: Cors) -> Response | None:
    """The answer to a browser that asks beforehand; None: it is for the service."""
    asks = request.method == b"OPTIONS" and request.header(METHOD)
    if not asks or not request.header(ORIGIN):
        return None
    origin = origin_of(request, cors)
    if origin is None and cors.forward_others:
        return None
    private = cors.private_network and request.header(PRIVATE) == b"true"
    fields = (
        (b"access-control-allow-origin", origin or b""),
        (b"access-control-allow-credentials", b"true" if cors.credentials else b""),
        (b"access-control-allow-methods", cors.methods),
        (b"access-control-allow-headers", cors.headers),
        (b"access-control-expose-headers", cors.exposed if origin else b""),
        (b"access-control-max-age", cors.max_age),
        (b"access-control-allow-private-network", b"true" if private else b""),
    )
    return Response(200, tuple(field for field in fields if field[1]))


def cors_fields(request: Request, cors: Cors) -> tuple[Field, ...]:
    """What a response gets, in place of fields of these names that it has."""
    origin = origin_of(request, cors)
    if origin is None:
        return ()
    fields = (
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true" if cors.credentials else b""),
        (b"access-control-expose-headers", cors.exposed),
    )
    return tuple(field for field in fields if field[1])
