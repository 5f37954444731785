from __future__ import annotations

from typing import Any

import pytest

from tandem.plugins import FilterError, Request, Response


def test_what_may_be_changed_of_a_request() -> None:
    request = Request("POST", "/a", authority="web")
    request.path = "/b?c=%20"
    request.authority = "Other:80"
    request.headers["X-A"] = "1"
    assert (request.path, request.authority) == ("/b?c=%20", "other:80")
    for name in ("method", "scheme", "header"):
        with pytest.raises(AttributeError):
            setattr(request, name, "x")


@pytest.mark.parametrize("path", ["b", "", "/a b", "/é", "/a#b", "/a\r\n", None, b"/"])
def test_what_no_path_can_be(path: Any) -> None:
    with pytest.raises(FilterError, match=r"request\.path can't be"):
        Request().path = path


@pytest.mark.parametrize("authority", ["a b", "a/b", "a\r\n", "é", None])
def test_what_no_authority_can_be(authority: Any) -> None:
    with pytest.raises(FilterError, match=r"request\.authority can't be"):
        Request().authority = authority


def test_an_answer() -> None:
    response = Response(404, {"x-a": "1"}, "é")
    assert (response.status, response.body) == (404, "é".encode())
    assert response.headers["X-A"] == "1"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((99,), "status can't be 99"),
        ((True,), "status can't be True"),
        (("200",), "status can't be '200'"),
        ((200, {}, 5), "body is bytes or str, not int"),
        ((204, {}, b"x"), "status 204 has no body"),
        ((200, {}, b"x" * 2_000_000), "at most 1048576 bytes"),
    ],
)
def test_what_no_answer_can_be(values: tuple[Any, ...], message: str) -> None:
    with pytest.raises(FilterError, match=message):
        Response(*values)
