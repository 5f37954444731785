from __future__ import annotations

import base64

import pytest

from waypoint.messages import Request
from waypoint.routing.session import Session, remembered, reminder

COOKIE = Session(b"who", lifetime=100, path=b"/a")
HEADER = Session(b"x-who", header=True)


def request(*fields: tuple[bytes, bytes]) -> Request:
    return Request(b"GET", b"http", b"web", b"/", fields)


def note(text: str) -> bytes:
    return base64.b64encode(text.encode(), b"-_")


def test_a_cookie_comes_back() -> None:
    name, line = reminder(COOKIE, "10.0.0.1:80", 1000.7)
    assert name == b"set-cookie"
    value, *attributes = line.split(b"; ")
    assert attributes == [b"Max-Age=100", b"Path=/a", b"HttpOnly"]
    carried = request((b"cookie", b"other=x; " + value))
    assert remembered(carried, COOKIE, 1001) == "10.0.0.1:80"
    assert remembered(carried, COOKIE, 1099) == "10.0.0.1:80"
    assert remembered(carried, COOKIE, 1100) == ""


def test_a_cookie_of_the_clients_session_says_no_time() -> None:
    _, line = reminder(Session(b"who"), "[::1]:80", 1000)
    assert line == b'who="%b"; Path=/; HttpOnly' % note("[::1]:80")
    assert (
        remembered(request((b"cookie", line.split(b";")[0])), Session(b"who"), 1e9)
        == "[::1]:80"
    )


def test_a_header_comes_back() -> None:
    field = reminder(HEADER, "10.0.0.1:80", 1000)
    assert field == (b"x-who", note("10.0.0.1:80"))
    assert remembered(request(field), HEADER, 1001) == "10.0.0.1:80"
    assert remembered(request(field, field), HEADER, 1001) == ""


@pytest.mark.parametrize(
    "value",
    [b"", b"%", b"abc", note("\u00e9"), note("a:1 x"), note("a:1 -5"), note("a:1 " + "9" * 99)],
)
def test_what_is_no_note_says_nothing(value: bytes) -> None:
    assert remembered(request((b"x-who", value)), HEADER, 0) == ""


def test_who_says_nothing() -> None:
    assert remembered(request(), COOKIE, 0) == remembered(request(), HEADER, 0) == ""
