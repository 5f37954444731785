from __future__ import annotations

import pytest

from waypoint.errors import RouteError
from waypoint.routing.text import Substitution, literal_prefix


@pytest.mark.parametrize(
    ("pattern", "by", "text", "made"),
    [
        ("/a", "/z", "/a/a", "/z/z"),
        ("^/(a|b)", r"/\1\1", "/a/b", "/aa/b"),
        ("b*", "-", "/a/bbb/a", "-/-a-/-/-a-"),
        ("/([^/]+)/([^/]+)", r"/\2/\1", "/x/y", "/y/x"),
        ("[0-9]", r"\\\0", "a1", r"a\1"),
        ("(a)|b", r"<\1>", "ab", "<a><>"),
        ("$", "/end", "/a", "/a/end"),
        ("x", "y", "/a", "/a"),
    ],
)
def test_substitutions(pattern: str, by: str, text: str, made: str) -> None:
    assert Substitution(pattern, by).apply(text.encode()) == made.encode()


@pytest.mark.parametrize(
    ("pattern", "by", "said"),
    [
        ("(", "", "regular expression '\\('"),
        ("a", r"\1", "group 1 is not in 'a'"),
        ("(a)", r"\2", "group 2"),
        ("a", "\\", "backslash"),
        ("a", r"\x", "backslash"),
        ("a", "\\\\\\", "backslash"),
    ],
)
def test_substitutions_that_mean_nothing(pattern: str, by: str, said: str) -> None:
    with pytest.raises(RouteError, match=said):
        Substitution(pattern, by)


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [
        ("/api/v[0-9]+", "/api/v"),
        ("/a|/b", "/"),
        ("(?i)/a/", "/"),
        (".*", ""),
        ("/a/b?", "/a/"),
    ],
)
def test_what_matches_begin_with(pattern: str, prefix: str) -> None:
    assert literal_prefix(pattern, 64) == prefix
