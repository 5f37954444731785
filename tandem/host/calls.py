"""One call of a filter's: what is passed to it, checked and returned.

The host and the test-kit call filters by these alone, so that both mean the same.
"""

from __future__ import annotations

import json
from typing import Any

from tandem.plugins.errors import FilterError
from tandem.plugins.filters import Direction, Filter
from tandem.plugins.headers import Headers
from tandem.plugins.messages import BODILESS, MOST_BODY, Caller, Request, Response

#: Characters of what a filter notes, as JSON.
MOST_NOTES = 16 * 1024


def call_request(found: Filter, request: Request) -> Response | None:
    """Ask on_request; raises what it does, and FilterError for what it mustn't return."""
    said: object = found.on_request(request)
    if said is not None and not isinstance(said, Response):
        raise FilterError(
            f"on_request returned {type(said).__name__}: return a Response to answer the "
            "request, or None to let it go on"
        )
    return said


def call_response(found: Filter, request: Request, response: Response) -> None:
    """Ask on_response; raises what it does, and FilterError."""
    was = response.status
    said: object = found.on_response(request, response)  # type: ignore[func-returns-value]
    if said is not None:
        raise FilterError(
            f"on_response returned {type(said).__name__}: it changes the response that it "
            "is given, and returns None"
        )
    if response.status != was and (was in BODILESS or response.status in BODILESS):
        raise FilterError(
            f"on_response made status {response.status} of {was}: one of them has no body"
        )
    if response.body:
        raise FilterError("on_response set the body: on_body changes it")


def call_body(
    found: Filter, request: Request, data: bytes, direction: Direction, *, last: bool
) -> bytes | None:
    """Ask on_body; raises what it does, and FilterError."""
    said: object = found.on_body(request, data, last, direction)
    if said is None:
        return None
    if not isinstance(said, bytes | bytearray | memoryview):
        raise FilterError(
            f"on_body returned {type(said).__name__}: return bytes, or None for the same"
        )
    made = bytes(said)
    if len(made) > MOST_BODY:
        raise FilterError(f"on_body returned {len(made)} bytes: {MOST_BODY} at most")
    return made


# As frames have them


def read_request(said: dict[str, Any], body: bytes) -> Request:
    """A request from a frame's object."""
    identity, namespace, labels = said["caller"]
    made = Request(
        said["method"],
        said["path"],
        authority=said["authority"],
        scheme=said["scheme"],
        headers=Headers.received(said["headers"]),
        body=body,
        caller=Caller(identity, namespace, labels),
        route=said["route"],
        metadata=said["metadata"],
    )
    made.headers.changed = False
    return made


def request_changes(request: Request, was: dict[str, Any]) -> dict[str, Any]:
    """What on_request changed, for a frame; was: the request as it came."""
    changes: dict[str, Any] = {}
    if request.path != was["path"]:
        changes["path"] = request.path
    if request.authority != was["authority"]:
        changes["authority"] = request.authority
    if not isinstance(request.headers, Headers):
        raise FilterError("request.headers was replaced: change the Headers that it has")
    if request.headers.changed:
        changes["headers"] = request.headers.fields
        request.headers.changed = False
    if request.notes:
        changes["notes"] = checked_notes(request.notes)
    if request.reroute:
        changes["reroute"] = True
    return changes


def response_changes(response: Response, status: int) -> dict[str, Any]:
    """What on_response changed, for a frame; status: as it came."""
    changes: dict[str, Any] = {}
    if not isinstance(response.headers, Headers):
        raise FilterError("response.headers was replaced: change the Headers that it has")
    if response.headers.changed:
        changes["headers"] = response.headers.fields
    if response.status != status:
        changes["status"] = response.status
    return changes


def answer_of(response: Response) -> dict[str, Any]:
    """An answer of a filter's own, for a frame; its body goes beside it."""
    if not isinstance(response.headers, Headers):
        raise FilterError("response.headers was replaced: change the Headers that it has")
    return {"status": response.status, "answer": response.headers.fields}


def checked_notes(notes: object) -> dict[str, Any]:
    """Notes, when they are JSON-able and not too long; raises FilterError."""
    if not isinstance(notes, dict) or not all(isinstance(key, str) for key in notes):
        raise FilterError("request.notes is a dict whose keys are str")
    try:
        text = json.dumps(notes, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise FilterError(f"request.notes can't be JSON: {error}") from error
    if len(text) > MOST_NOTES:
        raise FilterError(f"request.notes has {len(text)} characters: {MOST_NOTES} at most")
    read: dict[str, Any] = json.loads(text)
    return read
