"""What an ext_authz filter is told, what it asks and what it is answered: values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from waypoint.filters.unary import GrpcService
from waypoint.messages import Field
from waypoint.routing.conditions import ALL, Fraction
from waypoint.routing.notes import NoteMatch
from waypoint.routing.text import TextMatch


@dataclass(frozen=True, slots=True)
class BodySettings:
    """How much of the body the server gets. partial: the first of one that is longer."""

    limit: int
    partial: bool = False
    as_bytes: bool = False


@dataclass(frozen=True, slots=True)
class HttpService:
    """An authorization server that is asked by HTTP.

    add: fields of every question; upstream, append, client, client_on_success: which of
    the answer's fields go to the endpoint (instead of the client's, or beside them) and
    to the client (refused, or let in); client is None for all.
    """

    cluster: str
    timeout: float
    prefix: bytes = b""
    add: tuple[Field, ...] = ()
    upstream: tuple[TextMatch, ...] = ()
    append: tuple[TextMatch, ...] = ()
    client: tuple[TextMatch, ...] | None = None
    client_on_success: tuple[TextMatch, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """A filter's settings.

    allow_on_failure: without an answer, requests go on; tell_failure: with a field that
    says so; status_on_error: they are refused with. namespaces: whose notes the server
    gets. allowed, disallowed: the fields that it gets; allowed None: all by gRPC, by
    HTTP only Authorization. reroute: changed requests are routed anew.
    enabled_for: the share that is asked about; enabled_by: only those that it is so of.
    """

    service: GrpcService | HttpService
    allow_on_failure: bool = False
    tell_failure: bool = False
    status_on_error: int = 403
    body: BodySettings | None = None
    namespaces: tuple[str, ...] = ()
    allowed: tuple[TextMatch, ...] | None = None
    disallowed: tuple[TextMatch, ...] = ()
    raw_headers: bool = False
    reroute: bool = False
    enabled_for: Fraction = ALL
    enabled_by: NoteMatch | None = None


@dataclass(frozen=True, slots=True)
class Override:
    """A route's own: what the server is told beside; body: see Settings, None: that one's.

    no_body: the server gets none.
    """

    context: Mapping[str, str] = field(default_factory=dict)
    body: BodySettings | None = None
    no_body: bool = False


NO_OVERRIDE = Override()


class Edit(Enum):
    """What a field of a ruling does beside those of its name."""

    SET = "set"
    ADD = "add"
    APPEND = "add where there is one"
    ADD_IF_ABSENT = "add where there is none"
    SET_IF_PRESENT = "set where there is one"


#: A field and what it does.
Change = tuple[Edit, bytes, bytes]


@dataclass(frozen=True, slots=True)
class Allowed:
    """The request may go on, changed. response: fields for the client; query_set,
    query_remove: parameters; notes: for other filters.
    """

    headers: tuple[Change, ...] = ()
    remove: frozenset[bytes] = frozenset()
    response: tuple[Change, ...] = ()
    query_set: tuple[tuple[str, str], ...] = ()
    query_remove: tuple[str, ...] = ()
    notes: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """The request may not go on, and how its client is told. error: the server couldn't
    say, but what the client is told.
    """

    status: int
    headers: tuple[Change, ...] = ()
    body: bytes = b""
    error: bool = False


Ruling = Allowed | Denied
