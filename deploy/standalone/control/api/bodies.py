"""JSON bodies of requests, checked field by field."""

from __future__ import annotations

from typing import Any

from deploy.standalone.control.allocate import parse_addresses
from deploy.standalone.control.pods import PodStatus

PHASES = ("Pending", "Running", "Succeeded", "Failed")
#: Of a status message: it is shown in tables.
MAX_MESSAGE = 1000


class BodyError(ValueError):
    """A body isn't what the API takes; the message names the field."""


def read_status(body: Any) -> PodStatus:
    """The body of a status PUT; raises BodyError."""
    fields = mapping(body)
    phase = field(fields, "phase", str)
    if phase not in PHASES:
        raise BodyError(f"phase: {phase!r} is none of {', '.join(PHASES)}")
    texts = field(fields, "ips", list)
    try:
        ips = parse_addresses(texts)
    except ValueError as error:
        raise BodyError(f"ips: {error}") from error
    return PodStatus(
        uid=field(fields, "uid", str),
        ips=ips,
        phase=phase,
        ready=field(fields, "ready", bool),
        restarts=field(fields, "restarts", int),
        message=str(fields.get("message") or "")[:MAX_MESSAGE],
    )


def read_node(body: Any) -> str:
    """The body of POST /v1/synced; raises BodyError."""
    node: str = field(mapping(body), "node", str)
    return node


def mapping(body: Any) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(body, dict):
        raise BodyError("the body must be a JSON object")
    return body


def field(fields: dict[str, Any], name: str, kind: type) -> Any:
    """A field of a type."""
    value = fields.get(name)
    if not isinstance(value, kind):
        raise BodyError(f"{name}: expected {kind.__name__}, not {value!r}")
    return value
