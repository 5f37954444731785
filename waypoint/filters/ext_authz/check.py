"""What the server is told of a request: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from waypoint.filters.ext_authz.settings import HttpService, Settings
from waypoint.filters.verdicts import Asked
from waypoint.messages import Field
from waypoint.routing.templates import Facts
from waypoint.routing.text import TextMatch

PARTIAL = b"x-envoy-auth-partial-body"
#: What a server that is asked by HTTP gets in any case.
ALWAYS = frozenset({b":method", b":path", b":authority", b"authorization"})


class Check(NamedTuple):
    """A request as it is judged. headers: with pseudo-headers; body: None where the
    server gets none; size: of the body, -1 where it isn't known; time: seconds since
    1970; notes: of the namespaces that the server gets.
    """

    method: bytes
    path: bytes
    authority: bytes
    scheme: bytes
    identifier: str
    headers: tuple[Field, ...]
    body: bytes | None
    size: int
    facts: Facts
    time: float
    context: Mapping[str, str]
    notes: Mapping[str, Any]


def headers_for(asked: Asked, settings: Settings, partial: bool | None) -> tuple[Field, ...]:
    """The fields that the server gets; partial: whether the body is, None: without one."""
    request = asked.request
    every: tuple[Field, ...] = (
        (b":method", request.method),
        (b":path", request.path),
        (b":authority", request.authority),
        (b":scheme", request.scheme),
        *request.fields,
    )
    allowed = settings.allowed
    by_http = isinstance(settings.service, HttpService)
    if allowed is not None or by_http:
        every = tuple(
            field
            for field in every
            if (by_http and field[0] in ALWAYS) or matches(field[0], allowed or ())
        )
    if settings.disallowed:
        every = tuple(f for f in every if not matches(f[0], settings.disallowed))
    if partial is not None:
        every = tuple(field for field in every if field[0] != PARTIAL)
        every = (*every, (PARTIAL, b"true" if partial else b"false"))
    return every


def matches(name: bytes, patterns: Iterable[TextMatch]) -> bool:
    """Whether a field's name is one of some."""
    return any(pattern.test(name) for pattern in patterns)
