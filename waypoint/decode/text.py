"""Envoy's StringMatcher and regular expressions."""

from __future__ import annotations

from typing import Any

from waypoint.decode.fields import only, within
from waypoint.errors import RouteError
from waypoint.routing.text import Kind, Substitution, TextMatch

STRING = {"exact", "prefix", "suffix", "contains", "safe_regex", "ignore_case"}


def string_match(message: Any, at: str) -> TextMatch:
    """Decode a StringMatcher."""
    only(message, STRING, at)
    pattern = message.WhichOneof("match_pattern")
    if pattern is None:
        raise RouteError(f"{at}match_pattern is missing")
    if pattern == "safe_regex":
        return regex_match(message.safe_regex, f"{at}safe_regex.")
    return TextMatch(Kind(pattern), getattr(message, pattern), message.ignore_case)


def regex_match(message: Any, at: str) -> TextMatch:
    """Decode a RegexMatcher; the engine is RE2, whether it is named or not."""
    only(message, {"regex", "google_re2"}, at)
    only(message.google_re2, set(), f"{at}google_re2.")
    with within(f"{at}regex"):
        return TextMatch(Kind.REGEX, message.regex)


def substitution(message: Any, at: str) -> Substitution:
    """Decode a RegexMatchAndSubstitute."""
    only(message, {"pattern", "substitution"}, at)
    regex_match(message.pattern, f"{at}pattern.")
    with within(f"{at}substitution"):
        return Substitution(message.pattern.regex, message.substitution)
