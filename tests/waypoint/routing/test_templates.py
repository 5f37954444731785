from __future__ import annotations

import pytest

from tests.waypoint.requests import request
from waypoint.errors import RouteError
from waypoint.routing.templates import Facts, parse_template

FACTS = Facts("HTTP/2", ("10.0.0.1", 5), ("fd00::1", 80), "spiffe://t/ns/a/sa/b")


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("plain", "plain"),
        ("", ""),
        ("100%%", "100%"),
        ("%%REQ(x)%%", "%REQ(x)%"),
        ("%REQ(X-A)%", "one"),
        ("<%REQ(none)%>", "<>"),
        ("%REQ(none?x-b)%", "three"),
        ("%REQ(x-b):2%", "th"),
        ("%REQ(:path)% %REQ(:METHOD)% %REQ(host)%", "/p?q GET a.test"),
        ("%REQ(:scheme)%", "http"),
        ("%RESP(x-r)%", "answer"),
        ("%PROTOCOL%", "HTTP/2"),
        ("%DOWNSTREAM_REMOTE_ADDRESS%", "10.0.0.1:5"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "10.0.0.1"),
        ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "10.0.0.1:5"),
        ("%DOWNSTREAM_LOCAL_ADDRESS%", "[fd00::1]:80"),
        ("%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", "fd00::1"),
        ("%DOWNSTREAM_LOCAL_PORT%", "80"),
        ("%DOWNSTREAM_PEER_URI_SAN%", "spiffe://t/ns/a/sa/b"),
    ],
)
def test_commands(text: str, rendered: str) -> None:
    asked = request("/p?q", "x-a: one", "x-a: two", "x-b: three")
    made = parse_template(text).render(asked, ((b"x-r", b"answer"),), FACTS)
    assert made.decode() == rendered


def test_what_is_not_known_is_empty() -> None:
    text = "%PROTOCOL%%DOWNSTREAM_REMOTE_ADDRESS%%DOWNSTREAM_LOCAL_PORT%%RESP(x)%"
    assert parse_template(text).render(request()) == b""


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("%START_TIME%", "START_TIME"),
        ('%UPSTREAM_METADATA(["a", "b"])%', "UPSTREAM_METADATA"),
        ("100%", "'%'"),
        ("%req(x)%", "req"),
        ("%REQ%", "REQ"),
        ("%REQ()%", "REQ"),
        ("%REQ(a?b?c)%", "REQ"),
        ("%REQ(a b)%", "REQ"),
        ("%PROTOCOL(x)%", "PROTOCOL"),
        ("%REQ(x)% %", "'%'"),
    ],
)
def test_other_commands_are_named(text: str, named: str) -> None:
    with pytest.raises(RouteError, match=f"{named}.* is not supported"):
        parse_template(text)


def test_what_depends_on_the_connection() -> None:
    assert parse_template("a%PROTOCOL%").reads_connection
    assert not parse_template("a%REQ(x)%%%").reads_connection
