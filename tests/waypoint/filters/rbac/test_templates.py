from __future__ import annotations

import pytest

from waypoint.errors import RouteError
from waypoint.filters.rbac.templates import PathTemplate


@pytest.mark.parametrize(
    ("template", "matching", "others"),
    [
        ("/", ["/"], ["/a", "//"]),
        ("/a/*", ["/a/b", "/a/%20;x=1", "/a/*"], ["/a", "/a/", "/a/b/c", '/a/"', "/a/b/"]),
        ("/a/**", ["/a/", "/a/b", "/a/b/c", "/a//"], ["/a", "/ab", "/a/{"]),
        ("/**/b", ["//b", "/x/b", "/x/y/b"], ["/b", "/x/bb"]),
        ("/*/b/*.html", ["/x/b/i.html"], ["/x/b/.html", "/x/c/i.html", "/x/b/y/i.html"]),
        ("/a.b+c", ["/a.b+c"], ["/axb+c", "/a.bbc"]),
    ],
)
def test_templates(template: str, matching: list[str], others: list[str]) -> None:
    found = PathTemplate(template)
    for path in matching:
        assert found.test(path.encode()), path
    for path in others:
        assert not found.test(path.encode()), path


@pytest.mark.parametrize(
    "template",
    ["", "a", "/a b", "/a//b", "/{a}", "/[a]", "/**/*", "/***", "/a?b", "/é", "/**/**"],
)
def test_what_is_none(template: str) -> None:
    with pytest.raises(RouteError, match="path template"):
        PathTemplate(template)
