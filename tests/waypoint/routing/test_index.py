from __future__ import annotations

import random

import pytest

from tests.waypoint.requests import request
from waypoint.routing import NOBODY, DirectResponse, Route
from waypoint.routing.conditions import HeaderMatch, Match
from waypoint.routing.index import RouteIndex, required_start, starts
from waypoint.routing.table import RouteTable, VirtualHost
from waypoint.routing.text import Kind, TextMatch

SEGMENTS = ("a", "b", "ab", "A", "", "1")
PATTERNS = (
    "/a/.*",
    "/(a|b)/.*",
    "/ab/[a-z]*/?",
    ".*",
    "(?i)/a/b",
    "/a",
    "/a/?",
    "/a|/b/.*",
    "",
)


def any_path(rng: random.Random) -> str:
    return "".join(f"/{rng.choice(SEGMENTS)}" for _ in range(rng.randint(1, 4)))


def any_route(rng: random.Random, number: int) -> Route:
    kind = rng.choice((Kind.EXACT, Kind.PREFIX, Kind.PATH_PREFIX, Kind.REGEX, None))
    path = None
    if kind is not None:
        text = rng.choice(PATTERNS) if kind is Kind.REGEX else any_path(rng)
        path = TextMatch(kind, text, rng.random() < 0.2)
    headers = (HeaderMatch("x", TextMatch(Kind.PRESENT, "")),) if rng.random() < 0.5 else ()
    return Route(f"r{number}", DirectResponse(200), Match(path, headers))


def scanned(routes: tuple[Route, ...], path: str, *lines: str) -> Route | None:
    """The first route that matches, each asked in turn."""
    asked = request(path, *lines)
    return next(
        (r for r in routes if r.match.accepts(asked, path.encode(), b"", NOBODY, 0.0)), None
    )


@pytest.mark.parametrize("seed", range(200))
def test_the_index_finds_what_a_scan_finds(seed: int) -> None:
    rng = random.Random(seed)
    routes = tuple(any_route(rng, i) for i in range(rng.randint(1, 30)))
    table = RouteTable("t", (VirtualHost("h", ("*",), routes),))
    for _ in range(50):
        path, lines = any_path(rng), ("x: 1",) * rng.randint(0, 1)
        assert table.match(request(path, *lines)) is scanned(routes, path, *lines), path


def test_few_of_many_are_asked() -> None:
    def service(i: int) -> list[Match]:
        return [
            Match(TextMatch(Kind.EXACT, f"/s{i}/x")),
            Match(TextMatch(Kind.PATH_PREFIX, f"/s{i}")),
            Match(TextMatch(Kind.REGEX, f"/s{i}/[0-9]+")),
        ]

    matches = [match for i in range(100) for match in service(i)]
    ok = DirectResponse(200)
    index = RouteIndex(Route("r", ok, match) for match in [*matches, Match()])
    assert [place for place, _, _ in index.candidates(b"/s7/x")] == [21, 22, 23, 300]
    assert [place for place, _, _ in index.candidates(b"/s7")] == [22, 23, 300]
    assert [place for place, _, _ in index.candidates(b"/other")] == [300]


def test_few_of_many_below_one_segment_are_asked() -> None:
    ok = DirectResponse(200)
    paths = [f"/api/v{i}/items" for i in range(200)]
    matches = [Match(TextMatch(Kind.PATH_PREFIX, path)) for path in (*paths, "/api/v7")]
    index = RouteIndex(Route("r", ok, match) for match in matches)
    assert [place for place, _, _ in index.candidates(b"/api/v7/items/x/y")] == [7, 200]
    assert [place for place, _, _ in index.candidates(b"/api/v7/other")] == [200]
    assert [place for place, _, _ in index.candidates(b"/api")] == []


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"/a/b", [b"/a", b"/a/b"]),
        (b"/a", [b"/a"]),
        (b"/", [b"/"]),
        (b"/a/", [b"/a", b"/a/"]),
        (b"//a", [b"/", b"//a"]),
        (b"*", []),
        (b"a/b", []),
    ],
)
def test_starts(path: bytes, found: list[bytes]) -> None:
    assert list(starts(path)) == found


@pytest.mark.parametrize(
    ("match", "start"),
    [
        (None, None),
        (TextMatch(Kind.PREFIX, "/a"), None),
        (TextMatch(Kind.PREFIX, "/a/"), b"/a"),
        (TextMatch(Kind.PREFIX, "/a/b"), b"/a"),
        (TextMatch(Kind.PREFIX, "//"), b"/"),
        (TextMatch(Kind.PREFIX, "/a/", True), None),
        (TextMatch(Kind.PATH_PREFIX, "/a"), b"/a"),
        (TextMatch(Kind.PATH_PREFIX, "/a/b"), b"/a/b"),
        (TextMatch(Kind.REGEX, "/a/b/.*"), b"/a/b"),
        (TextMatch(Kind.REGEX, "/a/?"), None),
        (TextMatch(Kind.REGEX, "/a/|/b/"), None),
        (TextMatch(Kind.REGEX, "(?i)/a/"), None),
    ],
)
def test_required_starts(match: TextMatch | None, start: bytes | None) -> None:
    assert required_start(match) == start
