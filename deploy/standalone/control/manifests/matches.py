"""The conditions of an HTTPRoute's rules."""

from __future__ import annotations

import re

import re2

from deploy.standalone.control.gatewayapi import MatchKind, PathMatch, RouteMatch, ValueMatch
from deploy.standalone.control.manifests.fields import Fields

METHODS = (
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
)  # fmt: skip
#: The waypoint's bound on one compiled expression, in bytes.
REGEX_MEMORY = 1 << 20
TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_|~`]{1,256}")
#: What the Gateway API forbids in a path: normalisation would change its meaning.
NOT_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F", "#")


def read_match(fields: Fields) -> RouteMatch:
    """Read one of ``matches``."""
    path = fields.child("path")
    method = fields.text("method")
    if method and method not in METHODS:
        fields.wrong("method", f"{method!r} is none of {', '.join(METHODS)}")
    match = RouteMatch(
        path=PathMatch(MatchKind.PREFIX, "/") if path.missing else read_path(path),
        headers=first_of_each(read_values(fields, "headers"), fold=True),
        query=first_of_each(read_values(fields, "queryParams"), fold=False),
        method=method,
    )
    fields.end()
    return match


def read_path(fields: Fields) -> PathMatch:
    """Read ``path``."""
    kind = MatchKind(fields.choice("type", list(MatchKind), MatchKind.PREFIX))
    value = fields.text("value", "/")
    if kind is MatchKind.REGEX:
        check_regex(fields, value)
    else:
        if not value.startswith("/"):
            fields.wrong("value", f"{value!r} must begin with /")
        bad = [part for part in NOT_IN_PATHS if part in value]
        bad += [end for end in ("/..", "/.") if value.endswith(end)]
        if bad:
            fields.wrong("value", f"{value!r} must not contain {bad[0]}")
    fields.end()
    return PathMatch(kind, value)


def read_values(fields: Fields, name: str) -> list[ValueMatch]:
    """Read ``headers`` or ``queryParams``."""
    found = []
    for inner in fields.children(name):
        kinds = (MatchKind.EXACT, MatchKind.REGEX)
        kind = MatchKind(inner.choice("type", kinds, MatchKind.EXACT))
        key = inner.required("name")
        if key and not TOKEN.fullmatch(key):
            inner.wrong("name", f"{key!r} is no name of a {name[:-1]}")
        value = inner.required("value")
        if kind is MatchKind.REGEX:
            check_regex(inner, value)
        inner.end()
        found.append(ValueMatch(kind, key, value))
    return found


def check_regex(fields: Fields, pattern: str) -> None:
    """Report what RE2 can't compile: it is what matches, in linear time."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = REGEX_MEMORY
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        cause = error.args[0] if error.args else "invalid"
        text = cause.decode("utf-8", "replace") if isinstance(cause, bytes) else str(cause)
        fields.wrong("value", f"{pattern!r} is no RE2 regular expression: {text}")


def first_of_each(values: list[ValueMatch], *, fold: bool) -> tuple[ValueMatch, ...]:
    """Without repetitions of a name: the Gateway API counts the first only."""
    found: dict[str, ValueMatch] = {}
    for value in values:
        found.setdefault(value.name.lower() if fold else value.name, value)
    return tuple(found.values())
