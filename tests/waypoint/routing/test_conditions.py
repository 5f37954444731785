from __future__ import annotations

import time

import pytest

from waypoint.errors import RouteError
from waypoint.layers.request import parse_request
from waypoint.messages import Request
from waypoint.routing.conditions import HeaderMatch, QueryMatch, parse_query
from waypoint.routing.text import Kind, TextMatch


def head(*lines: str, method: str = "GET") -> Request:
    block = "".join(f"{line}\r\n" for line in lines)
    text = f"{method} /p HTTP/1.1\r\nHost: a\r\n{block}\r\n"
    return parse_request(text.encode()).request


@pytest.mark.parametrize(
    ("kind", "text", "good", "bad"),
    [
        (Kind.EXACT, "ab", [b"ab"], [b"a", b"abc", b"AB", b""]),
        (Kind.PREFIX, "ab", [b"ab", b"abc"], [b"a", b"xab"]),
        (Kind.SUFFIX, "ab", [b"ab", b"xab"], [b"abc"]),
        (Kind.CONTAINS, "ab", [b"ab", b"xaby"], [b"a b"]),
        (Kind.REGEX, "a+b?", [b"a", b"aab"], [b"b", b"abb", b"xa", b"a\n"]),
        (Kind.PATH_PREFIX, "/v2", [b"/v2", b"/v2/", b"/v2/x"], [b"/v2x", b"/v", b"/V2"]),
        (Kind.RANGE, "-3:10", [b"-3", b"0", b"9"], [b"10", b"-4", b"1.5", b"", b"x", b"--1"]),
        (Kind.PRESENT, "", [b"", b"x"], []),
    ],
)
def test_kinds(kind: Kind, text: str, good: list[bytes], bad: list[bytes]) -> None:
    match = TextMatch(kind, text)
    assert [value for value in good + bad if match.test(value)] == good


def test_case_is_ignored_where_asked_but_not_in_regular_expressions() -> None:
    assert TextMatch(Kind.PREFIX, "/AB", ignore_case=True).test(b"/aBc")
    assert not TextMatch(Kind.REGEX, "A", ignore_case=True).test(b"a")


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "(?=x)", r"(a)\1"])
def test_expressions_that_re2_doesn_t_take_are_named(pattern: str) -> None:
    with pytest.raises(RouteError, match="regular expression"):
        TextMatch(Kind.REGEX, pattern)


def test_no_expression_takes_more_than_linear_time() -> None:
    match = TextMatch(Kind.REGEX, "(a|aa)+$")
    started = time.monotonic()
    assert not match.test(b"a" * 50_000 + b"b")
    assert time.monotonic() - started < 1


EXACT = TextMatch(Kind.EXACT, "1")
THERE = TextMatch(Kind.PRESENT, "")


@pytest.mark.parametrize(
    ("match", "lines", "accepts"),
    [
        (HeaderMatch("x", EXACT), ["X: 1"], True),
        (HeaderMatch("x", EXACT), ["X: 1 "], True),
        (HeaderMatch("x", EXACT), ["X: 2"], False),
        (HeaderMatch("x", EXACT), [], False),
        (HeaderMatch("x", EXACT, invert=True), ["X: 2"], True),
        (HeaderMatch("x", EXACT, invert=True), ["X: 1"], False),
        (HeaderMatch("x", EXACT, invert=True), [], False),
        (HeaderMatch("x", EXACT, invert=True, missing_is_empty=True), [], True),
        (HeaderMatch("x", EXACT), ["X: 2", "x: 1"], True),
        (HeaderMatch("x", TextMatch(Kind.EXACT, "1,2")), ["X: 1", "x: 2"], False),
        (HeaderMatch("x", EXACT, invert=True), ["X: 2", "x: 1"], False),
        (HeaderMatch("x", EXACT, invert=True), ["X: 2", "x: 3"], True),
        (HeaderMatch("x", THERE), ["X:"], True),
        (HeaderMatch("x", THERE), [], False),
        (HeaderMatch("x", THERE, present=False), [], True),
        (HeaderMatch("x", THERE, invert=True), [], True),
        (HeaderMatch("x", THERE, invert=True, present=False), ["X: 1"], True),
        (HeaderMatch(":method", TextMatch(Kind.EXACT, "GET")), [], True),
        (HeaderMatch(":path", TextMatch(Kind.EXACT, "/p")), [], True),
        (HeaderMatch(":authority", TextMatch(Kind.EXACT, "a")), [], True),
        (HeaderMatch("host", TextMatch(Kind.EXACT, "a")), [], True),
    ],
)
def test_headers(match: HeaderMatch, lines: list[str], accepts: bool) -> None:
    assert match.accepts(head(*lines)) is accepts


@pytest.mark.parametrize(
    ("match", "query", "accepts"),
    [
        (QueryMatch("a", EXACT), b"a=1", True),
        (QueryMatch("a", EXACT), b"b=2&a=1&a=2", True),
        (QueryMatch("a", EXACT), b"a=2&a=1", False),
        (QueryMatch("a", EXACT), b"", False),
        (QueryMatch("a", EXACT), b"A=1", False),
        (QueryMatch("a", TextMatch(Kind.EXACT, "%31")), b"a=%31", True),
        (QueryMatch("a", THERE), b"a", True),
        (QueryMatch("a", THERE, present=False), b"b", True),
        (QueryMatch("a", THERE, present=False), b"a=", False),
    ],
)
def test_query(match: QueryMatch, query: bytes, accepts: bool) -> None:
    assert match.accepts(parse_query(query)) is accepts


def test_conditions_can_be_read() -> None:
    assert str(HeaderMatch("x", EXACT, invert=True)) == "x not exact '1'"
    assert str(HeaderMatch("x", THERE, present=False)) == "x not present ''"
    assert (
        str(QueryMatch("a", TextMatch(Kind.PREFIX, "1", True))) == "?a prefix '1' ignoring case"
    )
