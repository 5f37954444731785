"""What filters see, and what they may say: values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from waypoint.messages import Field, Request
from waypoint.routing import Facts, Source
from waypoint.routing.notes import NO_NOTES, Notes


class Asked(NamedTuple):
    """A request as the next filter sees it.

    source, facts: of its connection; http2: how the client speaks; grpc: the caller is
    gRPC's; override: what the route has for this filter, or None.
    """

    request: Request
    source: Source
    facts: Facts
    notes: Notes = NO_NOTES
    http2: bool = False
    grpc: bool = False
    override: Any = None


class Passed(NamedTuple):
    """The request goes on.

    request: as changed, or None; notes: what this filter adds, under its own name;
    reroute: the route is looked for anew, by the changed request and notes; seconds: for
    how long the same may be said of equal requests of the connection, None: for ever;
    counts: statistics to count, once for each request.
    """

    request: Request | None = None
    notes: Notes | None = None
    reroute: bool = False
    seconds: float | None = None
    counts: tuple[str, ...] = ()


class Refusal(NamedTuple):
    """The request is answered here.

    fields: beside content-length, and in place of those of their names; details, flags:
    the access log's words; grpc: the status for gRPC callers, None: the one that stands
    for the HTTP status; seconds, counts: as in Passed.
    """

    status: int
    body: bytes
    details: str
    flags: str = "-"
    fields: tuple[Field, ...] = ()
    grpc: int | None = None
    seconds: float | None = None
    counts: tuple[str, ...] = ()


class Later(NamedTuple):
    """A HeadFilter can't say yet: wait, then ask it once more (then Later is a 503)."""

    wait: Callable[[], Awaitable[None]]


PASSED = Passed()
#: The body has more bytes than a filter may wait for.
TOO_LARGE = Refusal(413, b"Payload Too Large", "request_payload_too_large")
Verdict = Passed | Refusal
HeadVerdict = Passed | Refusal | Later


def with_notes(notes: Notes, name: str, more: Notes | None) -> Notes:
    """Notes with what a filter adds."""
    if more is None:
        return notes
    before = notes.get(name)
    return {**notes, name: more if before is None else {**before, **more}}
