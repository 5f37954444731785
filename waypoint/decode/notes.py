"""What is asked of what filters found out: Envoy's MetadataMatcher."""

from __future__ import annotations

from typing import Any

from waypoint.decode.fields import each, only
from waypoint.decode.text import string_match
from waypoint.errors import RouteError
from waypoint.routing import notes as n

MATCHER = {"filter", "path", "value", "invert"}
VALUE = {
    "null_match", "double_match", "string_match", "bool_match", "present_match", "list_match",
    "or_match",
}  # fmt: skip


def path_of(message: Any, at: str) -> tuple[str, ...]:
    """The keys of a MetadataMatcher's path, once it sets nothing that isn't known."""
    only(message, MATCHER, at)
    for index, segment in enumerate(message.path):
        only(segment, {"key"}, f"{at}path[{index}].")
    return tuple(segment.key for segment in message.path)


def note_match(message: Any, at: str) -> n.NoteMatch:
    """Decode a MetadataMatcher; raises RouteError."""
    path = path_of(message, at)
    if not message.filter or not path:
        raise RouteError(f"{at}filter or path is empty: both are needed")
    return n.NoteMatch(
        message.filter, path, value_match(message.value, f"{at}value."), message.invert
    )


def value_match(message: Any, at: str) -> n.ValueMatch:
    """Decode a ValueMatcher."""
    only(message, VALUE, at)
    match message.WhichOneof("match_pattern"):
        case "null_match":
            return n.IsNull()
        case "double_match":
            return number(message.double_match, f"{at}double_match.")
        case "string_match":
            return n.IsText(string_match(message.string_match, f"{at}string_match."))
        case "bool_match":
            return n.IsBool(message.bool_match)
        case "present_match":
            return n.IsPresent(message.present_match)
        case "list_match":
            only(message.list_match, {"one_of"}, f"{at}list_match.")
            return n.HasOne(value_match(message.list_match.one_of, f"{at}list_match.one_of."))
        case "or_match":
            inner, where = message.or_match, f"{at}or_match."
            only(inner, {"value_matchers"}, where)
            return n.IsOne(each(inner.value_matchers, f"{where}value_matchers", value_match))
        case _:
            raise RouteError(f"{at}match_pattern is missing")


def number(message: Any, at: str) -> n.IsNumber:
    """Decode a DoubleMatcher."""
    only(message, {"exact", "range"}, at)
    if message.WhichOneof("match_pattern") == "range":
        return n.IsNumber(message.range.start, message.range.end)
    return n.IsNumber(message.exact, message.exact)
