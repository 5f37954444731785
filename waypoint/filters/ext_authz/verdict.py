"""What becomes of a request by what the server said: pure."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from waypoint.filters.ext_authz.settings import (
    Allowed,
    Change,
    Denied,
    Edit,
    Ruling,
    Settings,
)
from waypoint.filters.soundness import FRAMING, sound_fields
from waypoint.filters.verdicts import Passed, Refusal, Verdict
from waypoint.messages import Field, Request
from waypoint.routing.edits import replaced

FLAGS = "UAEX"
DENIED, ERROR = "ext_authz_denied", "ext_authz_error"
FAILED_OPEN = (b"x-envoy-auth-failure-mode-allowed", b"true")


def verdict_of(ruling: Ruling, request: Request, settings: Settings) -> Verdict:
    """What becomes of a request by a ruling; one that can't be followed is an error."""
    if isinstance(ruling, Denied):
        return denied(ruling, settings)
    if not sound((*ruling.headers, *ruling.response)):
        return failed(request, settings)
    changed = changed_request(ruling, request)
    differs = changed != request
    return Passed(
        changed if differs else None,
        ruling.notes,
        reroute=settings.reroute and differs,
        counts=("ext_authz.ok",),
    )


def denied(ruling: Denied, settings: Settings) -> Refusal:
    """The refusal that the server asked for."""
    if not sound(ruling.headers):
        return refusal_on_error(settings)
    fields = edited((), settable(ruling.headers))
    return Refusal(
        ruling.status,
        ruling.body,
        ERROR if ruling.error else DENIED,
        FLAGS,
        fields,
        counts=("ext_authz.error" if ruling.error else "ext_authz.denied",),
    )


def failed(request: Request, settings: Settings) -> Verdict:
    """What becomes of a request that nobody ruled on."""
    if not settings.allow_on_failure:
        return refusal_on_error(settings)
    told = request._replace(fields=replaced(request.fields, (FAILED_OPEN,)))
    return Passed(
        told if settings.tell_failure else None,
        counts=("ext_authz.error", "ext_authz.failure_mode_allowed"),
    )


def refusal_on_error(settings: Settings) -> Refusal:
    """The refusal where there is no ruling."""
    return Refusal(settings.status_on_error, b"", ERROR, FLAGS, counts=("ext_authz.error",))


def sound(changes: Iterable[Change]) -> bool:
    """Whether fields can be written into a head as they are."""
    return sound_fields((name.removeprefix(b":"), value) for _, name, value in changes)


def settable(changes: Iterable[Change]) -> list[Change]:
    """Those that change a field, not what frames or directs a message."""
    return [c for c in changes if c[1] not in FRAMING and c[1][:1] != b":"]


def changed_request(ruling: Allowed, request: Request) -> Request:
    """A request as the server wants it; what frames and directs it stays."""
    changes = settable(ruling.headers)
    removed = ruling.remove - FRAMING
    fields = tuple(f for f in edited(request.fields, changes) if f[0] not in removed)
    path = request.path
    if ruling.query_set or ruling.query_remove:
        path = changed_query(path, ruling)
    return request._replace(path=path, fields=fields)


def edited(fields: tuple[Field, ...], changes: Iterable[Change]) -> tuple[Field, ...]:
    """Fields with changes, one after the other."""
    for edit, name, value in changes:
        there = any(found == name for found, _ in fields)
        match edit:
            case Edit.ADD:
                fields = (*fields, (name, value))
            case Edit.ADD_IF_ABSENT if not there:
                fields = (*fields, (name, value))
            case Edit.APPEND if there:
                fields = (*fields, (name, value))
            case Edit.SET:
                fields = replaced(fields, ((name, value),))
            case Edit.SET_IF_PRESENT if there:
                fields = replaced(fields, ((name, value),))
    return fields


def changed_query(path: bytes, ruling: Allowed) -> bytes:
    """A path with other query parameters: set ones take the place of the first of their
    name, or go to the end; those to be removed go last.
    """
    base, _, query = path.partition(b"?")
    parts = [part for part in query.split(b"&") if part]
    for name, value in ruling.query_set:
        key, part = name.encode(), f"{quote(name)}={quote(value)}".encode()
        at = next((i for i, each in enumerate(parts) if name_of(each) == key), len(parts))
        parts = [*parts[:at], part, *(p for p in parts[at:] if name_of(p) != key)]
    removed = {name.encode() for name in ruling.query_remove}
    parts = [part for part in parts if name_of(part) not in removed]
    return base + b"?" + b"&".join(parts) if parts else base


def name_of(part: bytes) -> bytes:
    """A query parameter's name."""
    return part.partition(b"=")[0]
