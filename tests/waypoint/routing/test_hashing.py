from __future__ import annotations

import pytest
import xxhash

from tests.waypoint.requests import request
from waypoint.routing import Affinity, HashPolicy, affinity
from waypoint.routing.hashing import HashCookie, HashHeader, HashQuery, HashSource
from waypoint.routing.text import Substitution


def number(text: str) -> int:
    return xxhash.xxh64_intdigest(text.encode())


def turned(one: int, other: int) -> int:
    return ((one << 1 | one >> 63) & 0xFFFFFFFFFFFFFFFF) ^ other


ASKED = request("/p?a=1&a=2&e=", "x: v", 'cookie: s=one; t="two"', "cookie: u=three; n=")


@pytest.mark.parametrize(
    ("policies", "hashed"),
    [
        ((), None),
        ((HashHeader(b"x"),), number("v")),
        ((HashHeader(b"none"),), None),
        ((HashHeader(b"host"),), number("a.test")),
        ((HashHeader(b":path"),), number("/p?a=1&a=2&e=")),
        ((HashHeader(b"x", Substitution("v", "w")),), number("w")),
        ((HashCookie(b"s"),), number("one")),
        ((HashCookie(b"t"),), number("two")),
        ((HashCookie(b"u"),), number("three")),
        ((HashCookie(b"n"),), None),
        ((HashSource(),), number("10.0.0.1")),
        ((HashQuery(b"a"),), number("1")),
        ((HashQuery(b"e"),), number("")),
        ((HashQuery(b"none"),), None),
        ((HashHeader(b"x"), HashQuery(b"a")), turned(number("v"), number("1"))),
        ((HashHeader(b"x"), HashHeader(b"x")), turned(number("v"), number("v"))),
        ((HashHeader(b"x", terminal=True), HashQuery(b"a")), number("v")),
        ((HashHeader(b"none", terminal=True), HashQuery(b"a")), number("1")),
    ],
)
def test_what_is_hashed(policies: tuple[HashPolicy, ...], hashed: int | None) -> None:
    assert affinity(ASKED, policies, "10.0.0.1", b"fresh") == Affinity(hashed)


def test_the_order_of_a_headers_values_has_no_say() -> None:
    policies = (HashHeader(b"x"),)
    one = affinity(request("/", "x: a", "x: b"), policies, "", b"")
    assert one == affinity(request("/", "x: b", "x: a"), policies, "", b"")
    assert one != affinity(request("/", "x: a"), policies, "", b"")


@pytest.mark.parametrize(
    ("policy", "line"),
    [
        (HashCookie(b"c", 0), 'c="fresh"; HttpOnly'),
        (HashCookie(b"c", 60, b"/p"), 'c="fresh"; Max-Age=60; Path=/p; HttpOnly'),
        (HashCookie(b"c", 0, attributes=((b"Secure", b""), (b"SameSite", b"Lax"))),
         'c="fresh"; Secure; SameSite=Lax; HttpOnly'),
    ],
)  # fmt: skip
def test_a_client_without_the_cookie_is_given_one(policy: HashCookie, line: str) -> None:
    given = affinity(ASKED, (policy,), "", b"fresh")
    assert given == Affinity(number("fresh"), ((b"set-cookie", line.encode()),))
    back = affinity(request("/", 'cookie: c="fresh"'), (policy,), "", b"other")
    assert back == Affinity(number("fresh"))
