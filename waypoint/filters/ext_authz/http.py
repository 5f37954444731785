"""Questions as HTTP requests, and rulings by their responses: pure."""

from __future__ import annotations

from waypoint.errors import InquiryError
from waypoint.filters.ext_authz.check import Check, matches
from waypoint.filters.ext_authz.settings import (
    Allowed,
    Change,
    Denied,
    Edit,
    HttpService,
    Ruling,
)
from waypoint.filters.inquiry import Answered
from waypoint.filters.soundness import FRAMING
from waypoint.messages import Request
from waypoint.routing.edits import replaced

#: Names of fields that the request loses, in a field of the response.
REMOVE = b"x-envoy-auth-headers-to-remove"
#: A denial's fields that its client gets whatever is allowed.
TOLD = frozenset({b"www-authenticate", b"location"})
#: Fields of a response that aren't for anybody else.
OWN = FRAMING | {REMOVE}


def question(check: Check, service: HttpService) -> Request:
    """The request that asks about another one."""
    fields = tuple(
        field for field in check.headers if field[0][:1] != b":" and field[0] not in OWN
    )
    if not check.body and check.method not in {b"GET", b"HEAD"}:
        # Some servers wait for content, or refuse, where its length isn't told (RFC 9110
        # section 8.6).
        fields = (*fields, (b"content-length", b"0"))
    return Request(
        check.method,
        b"http",
        check.authority,
        service.prefix + check.path,
        replaced(fields, service.add),
    )


def ruling_of(answer: Answered, service: HttpService) -> Ruling:
    """What a response says of the request: 200 lets it in, 5xx is none.

    Raises InquiryError for none.
    """
    if answer.status >= 500:
        raise InquiryError(f"the server answered {answer.status}")
    fields = [field for field in answer.fields if field[0] not in OWN]
    if answer.status != 200:
        told = [
            field
            for field in fields
            if service.client is None or field[0] in TOLD or matches(field[0], service.client)
        ]
        headers: tuple[Change, ...] = tuple((Edit.ADD, *field) for field in told)
        return Denied(answer.status, headers, answer.body)
    upstream: list[Change] = []
    response: list[Change] = []
    for name, value in fields:
        if matches(name, service.upstream):
            upstream.append((Edit.SET, name, value))
        if matches(name, service.append):
            upstream.append((Edit.ADD, name, value))
        if matches(name, service.client_on_success):
            response.append((Edit.ADD, name, value))
    removed = [value for name, value in answer.fields if name == REMOVE]
    names = b",".join(removed).split(b",")
    return Allowed(
        tuple(upstream),
        frozenset(name.strip().lower() for name in names if name.strip()),
        tuple(response),
    )
