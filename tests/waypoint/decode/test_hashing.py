from __future__ import annotations

from typing import Any

import pytest

from tests.waypoint.decode.messages import forward
from waypoint.errors import RouteError
from waypoint.routing.hashing import HashCookie, HashHeader, HashPolicy, HashQuery, HashSource
from waypoint.routing.text import Substitution

REWRITE = {"pattern": {"regex": "a"}, "substitution": "b"}
SECURE = {"name": "Secure"}


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        ({"header": {"header_name": "X-A"}}, HashHeader(b"x-a")),
        ({"header": {"header_name": "a", "regex_rewrite": REWRITE}},
         HashHeader(b"a", Substitution("a", "b"))),
        ({"cookie": {"name": "c"}}, HashCookie(b"c")),
        ({"cookie": {"name": "c", "ttl": "0s"}}, HashCookie(b"c", 0)),
        ({"cookie": {"name": "c", "ttl": "60s", "path": "/p", "attributes": [SECURE]}},
         HashCookie(b"c", 60, b"/p", ((b"Secure", b""),))),
        ({"connection_properties": {"source_ip": True}}, HashSource()),
        ({"query_parameter": {"name": "q"}, "terminal": True}, HashQuery(b"q", True)),
    ],
)  # fmt: skip
def test_policies(policy: dict[str, Any], wanted: HashPolicy) -> None:
    assert forward({"hash_policy": [policy]}).hash_policy == (wanted,)


@pytest.mark.parametrize(
    ("policy", "named"),
    [
        ({"filter_state": {"key": "k"}}, "filter_state"),
        ({"connection_properties": {}}, "source_ip"),
        ({"terminal": True}, "policy_specifier"),
        ({"cookie": {"name": "c", "ttl": "-1s"}}, "ttl"),
        ({"cookie": {"name": "c\r\n"}}, "name"),
    ],
)
def test_what_is_not_supported_is_named(policy: dict[str, Any], named: str) -> None:
    with pytest.raises(RouteError, match=rf"hash_policy\[0\]\..*{named}"):
        forward({"hash_policy": [policy]})
