"""What a route asks of requests: Envoy's RouteMatch."""

from __future__ import annotations

from typing import Any

from envoy.config.route.v3 import route_components_pb2

from waypoint.decode.fields import each, fraction, only
from waypoint.decode.notes import note_match, path_of
from waypoint.decode.text import regex_match, string_match
from waypoint.errors import RouteError
from waypoint.routing.conditions import HeaderMatch, Match, QueryMatch
from waypoint.routing.notes import NoteMatch
from waypoint.routing.source import SourceMatch
from waypoint.routing.text import Kind, TextMatch

MATCH = {
    "prefix", "path", "safe_regex", "path_separated_prefix", "case_sensitive",
    "headers", "query_parameters", "grpc", "runtime_fraction", "dynamic_metadata",
}  # fmt: skip
HEADER = {
    "name", "exact_match", "safe_regex_match", "range_match", "present_match",
    "prefix_match", "suffix_match", "contains_match", "string_match", "invert_match",
    "treat_missing_header_as_empty",
}  # fmt: skip
QUERY = {"name", "string_match", "present_match"}
#: The dynamic metadata that no filter has: who sends the request.
SOURCE = "tandem.io/source"


def route_match(message: route_components_pb2.RouteMatch, at: str) -> Match:
    """Decode a RouteMatch."""
    only(message, MATCH, at)
    if message.HasField("grpc"):
        only(message.grpc, set(), f"{at}grpc.")
    share = None
    if message.HasField("runtime_fraction"):
        share = fraction(message.runtime_fraction, f"{at}runtime_fraction.")
    metadata = each(message.dynamic_metadata, f"{at}dynamic_metadata", metadata_match)
    return Match(
        path=path_match(message, at),
        headers=each(message.headers, f"{at}headers", header_match),
        query=each(message.query_parameters, f"{at}query_parameters", query_match),
        source=tuple(found for found in metadata if isinstance(found, SourceMatch)),
        notes=tuple(found for found in metadata if isinstance(found, NoteMatch)),
        grpc=message.HasField("grpc"),
        fraction=share,
    )


def path_match(message: route_components_pb2.RouteMatch, at: str) -> TextMatch | None:
    """Decode a path_specifier; None: every path."""
    folds = message.HasField("case_sensitive") and not message.case_sensitive.value
    match message.WhichOneof("path_specifier"):
        case "prefix":
            return TextMatch(Kind.PREFIX, message.prefix, folds) if message.prefix else None
        case "path":
            return TextMatch(Kind.EXACT, message.path, folds)
        case "path_separated_prefix":
            prefix = message.path_separated_prefix
            if prefix.endswith("/") or "?" in prefix or "#" in prefix or len(prefix) < 2:
                raise RouteError(
                    f"{at}path_separated_prefix {prefix!r} is too short, or has ?, # or a "
                    "slash at its end"
                )
            return TextMatch(Kind.PATH_PREFIX, prefix, folds)
        case "safe_regex":
            return regex_match(message.safe_regex, f"{at}safe_regex.")
        case _:
            raise RouteError(f"{at}path_specifier is missing")


def header_match(message: route_components_pb2.HeaderMatcher, at: str) -> HeaderMatch:
    """Decode a HeaderMatcher; one that specifies nothing asks for presence."""
    only(message, HEADER, at)
    present = True
    match message.WhichOneof("header_match_specifier"):
        case "exact_match":
            match = TextMatch(Kind.EXACT, message.exact_match)
        case "safe_regex_match":
            match = regex_match(message.safe_regex_match, f"{at}safe_regex_match.")
        case "range_match":
            bounds = message.range_match
            match = TextMatch(Kind.RANGE, f"{bounds.start}:{bounds.end}")
        case "prefix_match":
            match = TextMatch(Kind.PREFIX, message.prefix_match)
        case "suffix_match":
            match = TextMatch(Kind.SUFFIX, message.suffix_match)
        case "contains_match":
            match = TextMatch(Kind.CONTAINS, message.contains_match)
        case "string_match":
            match = string_match(message.string_match, f"{at}string_match.")
        case specifier:
            match = TextMatch(Kind.PRESENT, "")
            present = specifier is None or message.present_match
    return HeaderMatch(
        name=message.name.lower(),
        match=match,
        invert=message.invert_match,
        present=present,
        missing_is_empty=message.treat_missing_header_as_empty,
    )


def query_match(message: route_components_pb2.QueryParameterMatcher, at: str) -> QueryMatch:
    """Decode a QueryParameterMatcher; one that specifies nothing asks for presence."""
    only(message, QUERY, at)
    match message.WhichOneof("query_parameter_match_specifier"):
        case "string_match":
            return QueryMatch(
                message.name, string_match(message.string_match, f"{at}string_match.")
            )
        case "present_match":
            return QueryMatch(message.name, TextMatch(Kind.PRESENT, ""), message.present_match)
        case _:
            return QueryMatch(message.name, TextMatch(Kind.PRESENT, ""))


def metadata_match(message: Any, at: str) -> SourceMatch | NoteMatch:
    """Decode a MetadataMatcher: of who asks, or of what a filter found out."""
    return source_match(message, at) if message.filter == SOURCE else note_match(message, at)


def source_match(message: Any, at: str) -> SourceMatch:
    """Decode a match of who asks: ``namespace``, or ``labels`` and a label's name."""
    path = path_of(message, at)
    only(message.value, {"string_match"}, f"{at}value.")
    match = string_match(message.value.string_match, f"{at}value.string_match.")
    match path:
        case ("namespace",):
            return SourceMatch(match, None, message.invert)
        case ("labels", label):
            return SourceMatch(match, label, message.invert)
    raise RouteError(f"{at}path {list(path)} is neither namespace nor labels and a name")
