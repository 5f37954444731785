"""Which buckets a request takes of, and what responses say of them."""

from __future__ import annotations

import pytest

from waypoint.filters.descriptors import Descriptor
from waypoint.filters.local_limit.bucket import SECOND, Bucket, take
from waypoint.filters.local_limit.settings import (
    Choice,
    Limit,
    LocalLimit,
    choices,
    retry_after,
    scope,
    told,
)
from waypoint.routing import DirectResponse, Route
from waypoint.routing.conditions import HeaderMatch, Match
from waypoint.routing.text import Kind, TextMatch

ALL = Bucket(100, 100, SECOND)
SLOW, FAST = Bucket(2, 1, SECOND), Bucket(5, 50, SECOND)
LIMITS = (
    Limit((("path", "/a"),), FAST),
    Limit((("user", "ann"),), SLOW),
    Limit((("user", ""),), FAST),
    Limit((("user", ""), ("path", "/a")), SLOW),
)
LIMIT = LocalLimit("x", ALL, limits=LIMITS)
SPARING = LocalLimit("x", ALL, limits=LIMITS, always=False)


def of(*entries: tuple[str, str], hits: int | None = None) -> Descriptor:
    return Descriptor(entries, hits)


def seen(found: tuple[Choice, ...]) -> list[tuple[Bucket, bool, int]]:
    return [(each.bucket, each.dynamic, each.tokens) for each in found]


@pytest.mark.parametrize(
    ("limit", "found", "taken"),
    [
        (LIMIT, [], [(ALL, False, 1)]),
        (LIMIT, [of(("path", "/b"))], [(ALL, False, 1)]),
        (LIMIT, [of(("path", "/a"))], [(FAST, False, 1), (ALL, False, 1)]),
        (SPARING, [of(("path", "/a"))], [(FAST, False, 1)]),
        (SPARING, [of(("path", "/b"))], [(ALL, False, 1)]),
        # The slowest first, whatever the order of descriptors.
        (
            SPARING,
            [of(("path", "/a")), of(("user", "ann"))],
            [(SLOW, False, 1), (FAST, False, 1)],
        ),
        # What is named exactly goes before what stands for any value.
        (SPARING, [of(("user", "ann"))], [(SLOW, False, 1)]),
        (SPARING, [of(("user", "bob"))], [(FAST, True, 1)]),
        (SPARING, [of(("user", "bob"), ("path", "/a"))], [(SLOW, True, 1)]),
        (SPARING, [of(("user", "bob"), ("path", "/b"))], [(ALL, False, 1)]),
        (SPARING, [of(("path", "/a"), ("user", "bob"))], [(ALL, False, 1)]),
        (SPARING, [of(("user", "ann"), hits=3)], [(SLOW, False, 3)]),
        (LocalLimit("x", None, limits=LIMITS), [], []),
    ],
)
def test_buckets(
    limit: LocalLimit, found: list[Descriptor], taken: list[tuple[Bucket, bool, int]]
) -> None:
    assert seen(choices(limit, found)) == taken


def test_each_value_has_a_name_of_its_own() -> None:
    names = {
        choices(SPARING, [each])[0].name
        for each in (
            of(("user", "ann")),
            of(("user", "bob")),
            of(("user", "bo")),
            of(("user", "b"), ("path", "/a")),
            of(("path", "/a")),
            of(),
        )
    }
    assert len(names) == 6
    assert choices(SPARING, [of(("user", "bob"))]) == choices(SPARING, [of(("user", "bob"))])


A = Route("a", DirectResponse(200), Match(TextMatch(Kind.PREFIX, "/a")))
B = Route(
    "a", DirectResponse(200), Match(headers=(HeaderMatch("x", TextMatch(Kind.PRESENT, "")),))
)
HTTP = "virtual_hosts[0]."


def test_what_sets_places_apart() -> None:
    places = [
        scope("apps/web", 80, "f", "http_filters[0].", A),
        scope("apps/web", 81, "f", "http_filters[0].", A),
        scope("apps/api", 80, "f", "http_filters[0].", A),
        scope("apps/web", 80, "g", "http_filters[0].", A),
        scope("apps/web", 80, "f", f"{HTTP}typed_per_filter_config[f].", A),
        scope("apps/web", 80, "f", f"{HTTP}routes[0].typed_per_filter_config[f].", A),
        scope("apps/web", 80, "f", f"{HTTP}routes[1].typed_per_filter_config[f].", B),
    ]
    assert len(set(places)) == len(places)


def test_what_leaves_places_alone() -> None:
    # Another filter or route before it, and another route that has what the host has.
    assert scope("w", 80, "f", "http_filters[0].", A) == scope(
        "w", 80, "f", "http_filters[3].", B
    )
    at = "typed_per_filter_config[f]."
    assert scope("w", 80, "f", HTTP + at, A) == scope("w", 80, "f", HTTP + at, B)
    assert scope("w", 80, "f", f"{HTTP}routes[0].{at}", A) == scope(
        "w", 80, "f", f"{HTTP}routes[5].{at}", A
    )


def test_what_responses_say() -> None:
    bucket = Bucket(2, 1, 10 * SECOND)
    level = take(bucket, 0, 1, 1)
    assert told(bucket, level) == (
        (b"x-ratelimit-limit", b"2"),
        (b"x-ratelimit-remaining", b"1"),
        (b"x-ratelimit-reset", b"0"),
    )
    level = take(bucket, take(bucket, 0, 1, 2).full, 1, 1)
    assert not level.taken
    assert told(bucket, level)[1:] == (
        (b"x-ratelimit-remaining", b"0"),
        (b"x-ratelimit-reset", b"10"),
    )
    assert retry_after(bucket, level, 1) == (b"retry-after", b"10")
    assert retry_after(bucket, level, 2) == (b"retry-after", b"20")
    soon = Bucket(1, 1000, SECOND)
    assert retry_after(soon, take(soon, 0, 1, 2), 1) == (b"retry-after", b"1")
