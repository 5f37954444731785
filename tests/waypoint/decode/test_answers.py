from __future__ import annotations

from typing import Any

import pytest

from tests.waypoint.decode.messages import sole
from waypoint.errors import RouteError
from waypoint.routing import Redirect
from waypoint.routing.rewrites import PatternRewrite, PrefixRewrite
from waypoint.routing.text import Substitution

REWRITE = {"pattern": {"regex": "a"}, "substitution": "b"}


@pytest.mark.parametrize(
    ("action", "wanted"),
    [
        ({}, Redirect()),
        ({"https_redirect": True}, Redirect(scheme=b"https")),
        ({"scheme_redirect": "https"}, Redirect(scheme=b"https")),
        (
            {"host_redirect": "b.test", "port_redirect": 8083},
            Redirect(host=b"b.test", port=8083),
        ),
        ({"path_redirect": "/p?q"}, Redirect(path=b"/p?q")),
        ({"prefix_rewrite": "/p"}, Redirect(rewrite=PrefixRewrite(b"/p", 1))),
        ({"regex_rewrite": REWRITE}, Redirect(rewrite=PatternRewrite(Substitution("a", "b")))),
        ({"strip_query": True}, Redirect(strip_query=True)),
        ({"response_code": "FOUND"}, Redirect(302)),
        ({"response_code": "SEE_OTHER"}, Redirect(303)),
        ({"response_code": "TEMPORARY_REDIRECT"}, Redirect(307)),
        ({"response_code": "PERMANENT_REDIRECT"}, Redirect(308)),
    ],
)
def test_redirects(action: dict[str, Any], wanted: Redirect) -> None:
    assert sole({"redirect": action}).action == wanted


@pytest.mark.parametrize(
    ("action", "named"),
    [
        ({"port_redirect": 70000}, "port_redirect"),
        ({"host_redirect": "a\r\nb"}, "host_redirect"),
        ({"path_redirect": "/a b"}, "path_redirect"),
    ],
)
def test_what_makes_no_url_is_named(action: dict[str, Any], named: str) -> None:
    with pytest.raises(RouteError, match=named):
        sole({"redirect": action})
