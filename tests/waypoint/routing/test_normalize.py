from __future__ import annotations

import random

import pytest

from waypoint.routing.normalize import BASE, EscapedSlashes, Normalized, Paths

MERGE = Paths(merge_slashes=True)
DECODE = Paths(merge_slashes=True, escaped_slashes=EscapedSlashes.FORWARD)
NONE = Paths(normalize=False)


@pytest.mark.parametrize(
    ("path", "base", "merged", "decoded"),
    [
        ("/a/../b", "/b", "/b", "/b"),
        ("/../a", "/a", "/a", "/a"),
        ("/a/..", "/", "/", "/"),
        ("/a/.", "/a/", "/a/", "/a/"),
        ("/a/./b", "/a/b", "/a/b", "/a/b"),
        ("/a/.%2e/b", "/b", "/b", "/b"),
        ("/%2e%2E/a", "/a", "/a", "/a"),
        ("/...", "/...", "/...", "/..."),
        ("/..a/.b", "/..a/.b", "/..a/.b", "/..a/.b"),
        ("//a", "//a", "/a", "/a"),
        ("/a//../b", "/a/b", "/a/b", "/a/b"),
        ("/a///b//", "/a///b//", "/a/b/", "/a/b/"),
        ("/a\\..\\b", "/b", "/b", "/b"),
        ("/\\a", "//a", "/a", "/a"),
        ("/a%2f..%2fb", "/a%2f..%2fb", "/a%2f..%2fb", "/b"),
        ("/a%5C../b", "/a%5C../b", "/a%5C../b", "/b"),
        ("/%2f%2Fa", "/%2f%2Fa", "/%2f%2Fa", "/a"),
        ("/a/..;x/b", "/b", "/b", "/b"),
        ("/a/%2e%2e;x/b", "/b", "/b", "/b"),
        ("/a/.;y/b", "/a/b", "/a/b", "/a/b"),
        ("/a;x/b", "/a;x/b", "/a;x/b", "/a;x/b"),
        ("/%41%2d%7E%5f", "/A-~_", "/A-~_", "/A-~_"),
        ("/%2a%20%c3", "/%2a%20%c3", "/%2a%20%c3", "/%2a%20%c3"),
        ('/"<>^`{|}', "/%22%3C%3E%5E%60%7B%7C%7D", None, None),
        ("/a%zz%", "/a%zz%", "/a%zz%", "/a%zz%"),
        ("/%252e%252e/a", "/%252e%252e/a", "/%252e%252e/a", "/%252e%252e/a"),
        ("/a?/../b//%2f\\", "/a?/../b//%2f\\", "/a?/../b//%2f\\", "/a?/../b//%2f\\"),
        ("/a/../b?x=1", "/b?x=1", "/b?x=1", "/b?x=1"),
        ("?x", "/?x", "/?x", "/?x"),
        ("a/b", "/a/b", "/a/b", "/a/b"),
        ("///", "///", "/", "/"),
        ("*", "/*", "/*", "/*"),
    ],
)
def test_paths(path: str, base: str, merged: str | None, decoded: str | None) -> None:
    for paths, wanted in ((BASE, base), (MERGE, merged or base), (DECODE, decoded or base)):
        assert paths.apply(path.encode()) == Normalized(wanted.encode())


@pytest.mark.parametrize("path", ["/a%00", "/%00/../b", "/%%32e", "/a/%2%65%2%65/b"])
def test_what_has_no_one_reading_is_refused(path: str) -> None:
    assert BASE.apply(path.encode()) is None


@pytest.mark.parametrize("path", ["/", "/a", "/a.b/c..d", "/a/b?x=../%", "/a//b", "/~a,b;c=d"])
def test_clean_paths_stay_the_same_object(path: str) -> None:
    raw = path.encode()
    found = BASE.apply(raw)
    assert found is not None
    assert found.path is raw


def test_nothing_is_done_where_nothing_is_asked_for() -> None:
    assert NONE.apply(b"/a/../b%2f%41\\") == Normalized(b"/a/../b%2f%41\\")
    assert Paths(normalize=False, merge_slashes=True).apply(b"/a//../b") == Normalized(
        b"/a/../b"
    )


@pytest.mark.parametrize(
    ("action", "found"),
    [
        (EscapedSlashes.KEEP, Normalized(b"/a%2fb")),
        (EscapedSlashes.REJECT, None),
        (EscapedSlashes.REDIRECT, Normalized(b"/a/b", redirect=True)),
        (EscapedSlashes.FORWARD, Normalized(b"/a/b")),
    ],
)
def test_escaped_slashes(action: EscapedSlashes, found: Normalized | None) -> None:
    paths = Paths(escaped_slashes=action)
    assert paths.apply(b"/a%2fb") == found
    assert paths.apply(b"/a/../b?%2f") == Normalized(b"/b?%2f")


def test_twice_is_once() -> None:
    draws = random.Random(7)
    pieces = [
        "/",
        "/",
        "..",
        ".",
        "a",
        "%2e",
        "%2f",
        "%5c",
        "%",
        "2",
        "e",
        "\\",
        ";",
        "//",
        "%41",
    ]
    for paths in (BASE, MERGE, DECODE):
        for _ in range(3000):
            path = "/" + "".join(draws.choices(pieces, k=draws.randrange(9)))
            found = paths.apply(path.encode())
            if found is not None:
                again = paths.apply(found.path)
                assert again == Normalized(found.path), path
                assert b"/../" not in found.path + b"/", path
