"""What no filter can do to a request: break the head it is written into, or its framing.

What filters add may come from servers they ask, or from people's own code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from waypoint.filters.verdicts import Passed, Refusal, Verdict
from waypoint.layers.headers import HOP_BY_HOP, TOKEN
from waypoint.layers.request import HOST
from waypoint.messages import Field, Request

NAME = re.compile(TOKEN + rb"++")
PATH = re.compile(rb"[/*][\x21\x22\x24-\x7e]*+")
#: As in HTTP/2 (ztunnel_compat.h2.fields): no control characters but tabs.
VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*+")
#: Where a body ends, and where a request goes: never by fields that a filter wrote.
FRAMING = HOP_BY_HOP | {b"content-length", b"transfer-encoding", b"host"}
BROKEN = Refusal(
    500, b"a filter broke the request\n", "filter_broke_request", counts=("broke_request",)
)


def checked(verdict: Verdict) -> Verdict:
    """The verdict, or a refusal in place of one that would break a head."""
    if isinstance(verdict, Refusal):
        return verdict if sound_fields(verdict.fields) else BROKEN
    request = verdict.request
    return verdict if request is None or sound(request) else BROKEN


def sound(request: Request) -> bool:
    """Whether a request can be written in HTTP/1.1 and says then what it does here."""
    return (
        NAME.fullmatch(request.method) is not None
        and PATH.fullmatch(request.path) is not None
        and HOST.fullmatch(request.authority) is not None
        and sound_fields(request.fields)
    )


def sound_fields(fields: Iterable[Field]) -> bool:
    """Whether fields are lines of a head each."""
    return all(NAME.fullmatch(name) and VALUE.fullmatch(value) for name, value in fields)


def reframed(verdict: Passed, before: Request) -> Request:
    """The request after a verdict, framed as before."""
    request = verdict.request
    if request is None or request.fields is before.fields:
        return before if request is None else request
    framing = tuple(f for f in before.fields if f[0] in FRAMING)
    fields = tuple(f for f in request.fields if f[0] not in FRAMING)
    return request._replace(fields=fields + framing)
