"""Unit tests of filters, without a mesh.

    from tandem.plugins import Request
    from tandem.plugins.testing import load, run

    def test_who_has_no_tenant_is_refused():
        outcome = run(load(Tenancy, {"header": "x-tenant"}), Request("GET", "/"))
        assert outcome.status == 400
        assert not outcome.forwarded

The filter is checked, called and refused by the same code as in a waypoint; only the
process around it, with its limits of time and memory, is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tandem.host.calls import (
    answer_of,
    call_body,
    call_request,
    call_response,
    request_changes,
    response_changes,
)
from tandem.host.loading import Loaded, instance, load_inline
from tandem.plugins.filters import Direction, Filter
from tandem.plugins.headers import Headers
from tandem.plugins.messages import Request, Response

#: Bytes of a piece of a body at most, as in a waypoint.
PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request.

    forwarded: it reached the service, as request with body; response: what the caller
    gets, with its body.
    """

    forwarded: bool
    request: Request
    body: bytes
    response: Response

    @property
    def status(self) -> int:
        """The response's."""
        return self.response.status

    @property
    def headers(self) -> Headers:
        """The response's."""
        return self.response.headers


Service = Callable[[Request, bytes], Response]


def ok(_request: Request, _body: bytes) -> Response:
    """A service that answers 200 and nothing else."""
    return Response(200)


def load(found: type[Filter], config: Mapping[str, Any] | None = None) -> Loaded:
    """A filter as a waypoint loads it. Raises what its __init__ does, and FilterError."""
    return instance(found, json.loads(json.dumps(config or {})))


def load_code(code: str, class_name: str, config: Mapping[str, Any] | None = None) -> Loaded:
    """The same of inline code, such as a PythonFilter's ``spec.code``."""
    return load_inline("test", code, class_name, json.loads(json.dumps(config or {})))


def run(
    loaded: Loaded,
    request: Request,
    *,
    body: bytes | Iterable[bytes] = b"",
    service: Service = ok,
    pieces: Iterable[bytes] | None = None,
) -> Outcome:
    """Have a request go through a filter, to a service, and its response back.

    body: the request's, in one piece or in several; service: answers what arrives there,
    by default 200; pieces: its response's body in several pieces. Raises what the filter
    raises: in a waypoint that is a failure, with which failStrategy deals.
    """
    parts = [body] if isinstance(body, bytes) else list(body)
    whole = b"".join(parts)
    found = loaded.filter
    if "on_request" in loaded.hooks:
        if loaded.body_limit:
            if len(whole) > loaded.body_limit:
                return Outcome(False, request, b"", Response(413))
            request.body = whole
        was = {"path": request.path, "authority": request.authority}
        answer = call_request(found, request)
        request_changes(request, was)
        if answer is not None:
            answer_of(answer)
            return Outcome(False, request, b"", answer)
    arrived = passed(loaded, request, parts, Direction.REQUEST)
    given = service(request, arrived)
    content = list(pieces) if pieces is not None else [bytes(given.body)]
    response = Response(given.status, given.headers)
    if "on_response" in loaded.hooks:
        call_response(found, request, response)
        response_changes(response, given.status)
    response.body = passed(loaded, request, content, Direction.RESPONSE)
    return Outcome(True, request, arrived, response)


def passed(
    loaded: Loaded, request: Request, parts: Iterable[bytes], direction: Direction
) -> bytes:
    """What on_body leaves of a body."""
    pieces = [
        part[at : at + PIECE] for part in parts for at in range(0, len(part), PIECE) if part
    ]
    if direction not in loaded.bodies or not pieces:
        return b"".join(pieces)
    made = []
    for index, piece in enumerate(pieces):
        last = index == len(pieces) - 1
        said = call_body(loaded.filter, request, piece, direction, last=last)
        made.append(piece if said is None else said)
    return b"".join(made)
