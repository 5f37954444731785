"""Heads as the host is told them, and what it says became of them: pure.

The host runs code that isn't ours, so nothing that it says is believed: what couldn't be
in a message is a failure of the plug-in's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from waypoint.errors import PluginError
from waypoint.filters.verdicts import Asked, Passed, Refusal
from waypoint.layers.headers import Field
from waypoint.messages import Request, Response

Said = dict[str, Any]
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
NO_VALUE = re.compile(rb"[\x00\r\n]")
NO_PATH = re.compile(rb"[^\x21\x22\x24-\x7e]")
AUTHORITY = re.compile(rb"[0-9a-z.\-_~%!$&'()*+,;=:\[\]]*")
#: What a plug-in has no say in; content-length only stays as it is.
RESERVED = frozenset(
    {
        b"connection", b"content-length", b"host", b"keep-alive", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
#: Bytes of all headers that a plug-in makes, and of an answer's body.
MOST_FIELDS = 64 * 1024
#: Bytes of what is wrong that an error shows.
SHOWN = 80
BODILESS = frozenset({204, 304})


def request_said(asked: Asked, identity: str, route: str) -> Said:
    """A request's head, for the host."""
    request, source = asked.request, asked.source
    return {
        "method": request.method.decode("latin-1"),
        "scheme": request.scheme.decode("latin-1"),
        "authority": request.authority.decode("latin-1"),
        "path": request.path.decode("latin-1"),
        "headers": said_fields(request.fields),
        "caller": [identity, source.namespace, dict(source.labels)],
        "route": route,
        "metadata": asked.notes,
    }


def said_fields(fields: Sequence[Field]) -> list[tuple[str, str]]:
    """Fields as texts."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]


def passed_request(asked: Asked, said: Said) -> Passed:
    """What on_request left of a request; raises PluginError."""
    request = changed_request(asked.request, said)
    notes = said.get("notes")
    if notes is not None and not isinstance(notes, dict):
        raise PluginError("notes are no object")
    return Passed(
        request if request != asked.request else None,
        notes,
        reroute=said.get("reroute") is True,
    )


def changed_request(request: Request, said: Said) -> Request:
    """A request as on_request left it; raises PluginError."""
    if "path" in said:
        path = as_bytes(said["path"])
        if path[:1] != b"/" or NO_PATH.search(path):
            raise PluginError(f"{path[:SHOWN]!r} is no path")
        request = request._replace(path=path)
    if "authority" in said:
        authority = as_bytes(said["authority"])
        if AUTHORITY.fullmatch(authority) is None:
            raise PluginError(f"{authority[:SHOWN]!r} is no authority")
        request = request._replace(authority=authority)
    if "headers" in said:
        request = request._replace(fields=read_fields(said["headers"], request.fields))
    return request


def refusal_said(said: Said, body: bytes) -> Refusal:
    """The answer that on_request gave instead of the service; raises PluginError."""
    status = read_status(said.get("status"))
    fields = read_fields(said["answer"], ())
    return Refusal(status, body, "plugin_response", "-", fields)


def changed_response(response: Response, said: Said) -> Response:
    """A response as on_response left it; raises PluginError."""
    if "status" in said:
        status = read_status(said["status"])
        if status in BODILESS or response.status in BODILESS:
            raise PluginError(f"status {status} for {response.status}: one has no body")
        response = response._replace(status=status)
    if "headers" in said:
        response = response._replace(fields=read_fields(said["headers"], response.fields))
    return response


def read_status(value: object) -> int:
    """A final status; raises PluginError."""
    if not isinstance(value, int) or not 200 <= value <= 599:
        raise PluginError(f"status {value!r:.20} is not from 200 to 599")
    return value


def read_fields(value: object, were: Sequence[Field]) -> tuple[Field, ...]:
    """Fields as they may be passed on; were: as they came. Raises PluginError."""
    if not isinstance(value, list):
        raise PluginError("headers are no list")
    kept = [field for field in were if field[0] in RESERVED]
    made: list[Field] = []
    size = 0
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            raise PluginError("a header is no pair")
        name, text = as_bytes(pair[0]), as_bytes(pair[1])
        size += len(name) + len(text)
        if TOKEN.fullmatch(name) is None or NO_VALUE.search(text):
            raise PluginError(f"{name[:SHOWN]!r} or its value can't be a header's")
        if name not in RESERVED:
            made.append((name, text))
        elif (name, text) in kept:
            kept.remove((name, text))
            made.append((name, text))
        else:
            raise PluginError(f"the header {name.decode()} isn't a plug-in's to set")
    if kept:
        raise PluginError(f"the header {kept[0][0].decode()} isn't a plug-in's to remove")
    if size > MOST_FIELDS:
        raise PluginError(f"headers of {size} bytes: {MOST_FIELDS} at most")
    return tuple(made)


def as_bytes(value: object) -> bytes:
    """A text's bytes; raises PluginError."""
    try:
        return value.encode("latin-1")  # type: ignore[attr-defined, no-any-return]
    except (AttributeError, UnicodeEncodeError) as error:
        raise PluginError("a text that can't be sent") from error
