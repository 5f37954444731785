from __future__ import annotations

import pytest

from tests.waypoint.requests import request
from waypoint.routing import Redirect, redirection
from waypoint.routing.rewrites import PatternRewrite, PrefixRewrite
from waypoint.routing.text import Substitution


@pytest.mark.parametrize(
    ("redirect", "host", "path", "location"),
    [
        (Redirect(host=b"b.test"), "a.test", "/x?q", "http://b.test/x?q"),
        (Redirect(scheme=b"https"), "a.test:80", "/", "https://a.test/"),
        (Redirect(scheme=b"https"), "a.test:8080", "/", "https://a.test:8080/"),
        (Redirect(scheme=b"http"), "a.test:80", "/", "http://a.test:80/"),
        (Redirect(scheme=b"https", host=b"b.test"), "a.test:80", "/", "https://b.test/"),
        (Redirect(port=8083), "a.test", "/", "http://a.test:8083/"),
        (Redirect(port=8083), "a.test:99", "/", "http://a.test:8083/"),
        (Redirect(port=8083), "[::1]:99", "/", "http://[::1]:8083/"),
        (Redirect(port=8083), "[::1]", "/", "http://[::1]:8083/"),
        (Redirect(path=b"/p"), "a.test", "/x?q", "http://a.test/p?q"),
        (Redirect(path=b"/p?r"), "a.test", "/x?q", "http://a.test/p?r"),
        (Redirect(path=b"/p?r", strip_query=True), "a.test", "/x?q", "http://a.test/p?r"),
        (Redirect(path=b"/p", strip_query=True), "a.test", "/x?q", "http://a.test/p"),
        (Redirect(strip_query=True), "a.test", "/x?q", "http://a.test/x"),
        (Redirect(), "a.test", "/x?", "http://a.test/x?"),
        (Redirect(rewrite=PrefixRewrite(b"/new", 2)), "a.test", "/x/y?q",
         "http://a.test/new/y?q"),
        (Redirect(rewrite=PrefixRewrite(b"/new", None)), "a.test", "/x/y?q",
         "http://a.test/new?q"),
        (Redirect(rewrite=PatternRewrite(Substitution("^/x", ""))), "a.test", "/x?q",
         "http://a.test/?q"),
    ],
)  # fmt: skip
def test_locations(redirect: Redirect, host: str, path: str, location: str) -> None:
    response = redirection(request(path, host=host), redirect)
    assert response.fields == ((b"location", location.encode()),)


def test_status() -> None:
    assert redirection(request(), Redirect(308)).status == 308
