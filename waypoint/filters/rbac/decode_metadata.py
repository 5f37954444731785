"""Envoy's MetadataMatcher."""

from __future__ import annotations

from typing import Any

from waypoint.decode.fields import each, only
from waypoint.decode.text import string_match
from waypoint.errors import RouteError
from waypoint.filters.rbac import metadata as m

MATCHER = {"filter", "path", "value", "invert"}
VALUE = {
    "null_match", "double_match", "string_match", "bool_match", "present_match", "list_match",
    "or_match",
}  # fmt: skip


def metadata_match(message: Any, at: str) -> m.MetadataMatch:
    """Decode one; raises RouteError."""
    only(message, MATCHER, at)
    if not message.filter or not message.path:
        raise RouteError(f"{at}filter or path is empty")
    for index, segment in enumerate(message.path):
        only(segment, {"key"}, f"{at}path[{index}].")
    return m.MetadataMatch(
        message.filter,
        tuple(segment.key for segment in message.path),
        value_match(message.value, f"{at}value."),
        message.invert,
    )


def value_match(message: Any, at: str) -> m.ValueMatch:
    """Decode a ValueMatcher."""
    only(message, VALUE, at)
    match message.WhichOneof("match_pattern"):
        case "null_match":
            return m.Null()
        case "double_match":
            return number(message.double_match, f"{at}double_match.")
        case "string_match":
            return m.Text(string_match(message.string_match, f"{at}string_match."))
        case "bool_match":
            return m.Truth(message.bool_match)
        case "present_match":
            return m.Present(message.present_match)
        case "list_match":
            only(message.list_match, {"one_of"}, f"{at}list_match.")
            return m.OneOf(value_match(message.list_match.one_of, f"{at}list_match.one_of."))
        case "or_match":
            name = f"{at}or_match.value_matchers"
            return m.EitherValue(each(message.or_match.value_matchers, name, value_match))
        case _:
            raise RouteError(f"{at}match_pattern is missing")


def number(message: Any, at: str) -> m.Number:
    """Decode a DoubleMatcher."""
    only(message, {"exact", "range"}, at)
    if message.WhichOneof("match_pattern") == "range":
        return m.Number(message.range.start, message.range.end)
    return m.Number(message.exact, message.exact)
