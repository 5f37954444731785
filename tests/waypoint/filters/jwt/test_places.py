from __future__ import annotations

import pytest

from waypoint.filters.jwt.places import CookiePlace, HeaderPlace, ParamPlace, Place, places_of

BEARER = HeaderPlace(b"authorization", b"Bearer ")


@pytest.mark.parametrize(
    ("place", "fields", "path", "found"),
    [
        (BEARER, [(b"authorization", b"Bearer a.b.c")], b"/", ["a.b.c"]),
        (BEARER, [(b"authorization", b"bearer a")], b"/", []),
        (BEARER, [(b"authorization", b"Bearer")], b"/", []),
        (BEARER, [(b"authorization", b"x Bearer  \"a b")], b"/", ["a b"]),
        (BEARER, [(b"authorization", b"Bearer a")] * 2, b"/", ["a,Bearer a"]),
        (HeaderPlace(b"x"), [(b"x", b" a"), (b"y", b"b"), (b"x", b"c")], b"/", [" a", "c"]),
        (ParamPlace(b"t"), [], b"/?a=b&t=x&t=y", ["x"]),
        (ParamPlace(b"t"), [], b"/?%74=%78", ["x"]),
        (ParamPlace(b"t"), [], b"/t=x?t", [""]),
        (ParamPlace(b"t"), [], b"/?tt=x", []),
        (CookiePlace(b"c"), [(b"cookie", b"a=b; c=x; c=y")], b"/", ["x"]),
        (CookiePlace(b"c"), [(b"cookie", b"a=b"), (b"cookie", b'c="x"')], b"/", ["x"]),
        (CookiePlace(b"c"), [(b"cookie", b"cc=x")], b"/", []),
    ],
)  # fmt: skip
def test_where_tokens_are(
    place: Place, fields: list[tuple[bytes, bytes]], path: bytes, found: list[str]
) -> None:
    places = places_of([("", (place,))])
    assert [each.text for each in places.find(fields, path)] == found


@pytest.mark.parametrize(
    ("path", "left"),
    [
        (b"/?t=x", b"/"),
        (b"/?a=b&t=x&c=%20d&t=y", b"/?a=b&c=%20d"),
        (b"/?%74=x&a", b"/?a"),
        (b"/", b"/"),
    ],
)
def test_a_parameter_is_taken_out(path: bytes, left: bytes) -> None:
    assert ParamPlace(b"t").without([], path) == ([], left)


def test_headers_are_taken_out_and_cookies_stay() -> None:
    fields = [(b"authorization", b"Bearer a"), (b"cookie", b"c=a")]
    assert BEARER.without(fields, b"/") == (fields[1:], b"/")
    assert CookiePlace(b"c").without(fields, b"/") == (fields, b"/")


def test_a_place_is_for_the_issuers_that_name_it() -> None:
    x = HeaderPlace(b"x")
    places = places_of([("i", (x,)), ("j", (x, ParamPlace(b"t"))), ("", ())])
    found = places.find([(b"x", b"1"), (b"authorization", b"Bearer 2")], b"/?t=3")
    assert [(each.text, each.issuers) for each in found] == [
        ("2", None),
        ("1", frozenset({"i", "j"})),
        ("3", frozenset({"j"})),
    ]
