from __future__ import annotations

import base64

import pytest

from waypoint.messages import Field, Request
from waypoint.routing.session import Session, remembered, renewed

COOKIE = Session(b"who", lifetime=100, path=b"/a")
HEADER = Session(b"x-who", header=True)


def request(*fields: tuple[bytes, bytes]) -> Request:
    return Request(b"GET", b"http", b"web", b"/", fields)


def note(text: str) -> bytes:
    return base64.b64encode(text.encode(), b"-_")


def new(session: Session, label: str, now: float, *fields: Field) -> Field:
    """What a client gets that carried this."""
    found = renewed(request(*fields), session, label, now)
    assert found is not None
    return found


def test_a_cookie_comes_back() -> None:
    name, line = new(COOKIE, "10.0.0.1:80", 1000.7)
    assert name == b"set-cookie"
    value, *attributes = line.split(b"; ")
    assert attributes == [b"Max-Age=100", b"Path=/a", b"HttpOnly"]
    carried = request((b"cookie", b"other=x; " + value))
    assert remembered(carried, COOKIE, 1001) == "10.0.0.1:80"
    assert remembered(carried, COOKIE, 1099) == "10.0.0.1:80"
    assert remembered(carried, COOKIE, 1100) == ""


def test_a_cookie_of_the_clients_session_says_no_time() -> None:
    _, line = new(Session(b"who"), "[::1]:80", 1000)
    assert line == b'who="%b"; Path=/; HttpOnly' % note("[::1]:80")
    assert (
        remembered(request((b"cookie", line.split(b";")[0])), Session(b"who"), 1e9)
        == "[::1]:80"
    )


def test_a_header_comes_back() -> None:
    field = new(HEADER, "10.0.0.1:80", 1000)
    assert field == (b"x-who", note("10.0.0.1:80"))
    assert remembered(request(field), HEADER, 1001) == "10.0.0.1:80"
    assert remembered(request(field, field), HEADER, 1001) == ""


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"%",
        b"abc",
        note("\u00e9"),
        note("a:1 x"),
        note("a:1 -5"),
        note("a:1 " + "9" * 99),
        note(""),
        note(" 5"),
        note("a:1 "),
        note("a:1 5 "),
        note("a:1 5 x"),
        note("a:1 5 6 7"),
        note("a:1 5 \u0665"),
    ],
)
def test_what_is_no_note_says_nothing(value: bytes) -> None:
    assert remembered(request((b"x-who", value)), HEADER, 0) == ""


IDLE = Session(b"x-who", header=True, idle=10)
BOTH = Session(b"who", lifetime=100, idle=10)


def test_a_session_that_is_used_lasts_and_one_that_is_not_ends() -> None:
    field = new(IDLE, "a:1", 1000.2)
    assert field == (b"x-who", note("a:1 0 1001"))
    for now in (1001.0, 1005.0, 1011.0):
        assert remembered(request(field), IDLE, now) == "a:1"
    assert remembered(request(field), IDLE, 1011.1) == ""
    # Each use begins the time anew.
    field = new(IDLE, "a:1", 1009.5, field)
    assert field == (b"x-who", note("a:1 0 1010"))
    assert remembered(request(field), IDLE, 1020) == "a:1"
    assert renewed(request(field), IDLE, "a:1", 1009.9) is None
    # One that has ended begins anew, wherever it leads now.
    assert new(IDLE, "a:1", 1030, field) == (b"x-who", note("a:1 0 1030"))


def test_use_does_not_lengthen_what_a_cookie_may_live() -> None:
    _, line = new(BOTH, "a:1", 1000)
    assert line == b'who="%b"; Max-Age=100; Path=/; HttpOnly' % note("a:1 1100 1000")
    for now in (1005, 1014, 1023):
        _, line = new(BOTH, "a:1", now, (b"cookie", line.split(b";")[0]))
        assert line == b'who="%b"; Max-Age=%d; Path=/; HttpOnly' % (
            note(f"a:1 1100 {now}"), 1100 - now,
        )  # fmt: skip
    late = (b"cookie", b'who="%b"' % note("a:1 1100 1099"))
    assert remembered(request(late), BOTH, 1099) == "a:1"
    assert remembered(request(late), BOTH, 1100) == ""
    # Another endpoint is another session.
    _, line = new(BOTH, "b:1", 1050, (b"cookie", line.split(b";")[0]))
    assert line.startswith(b'who="%b"' % note("b:1 1150 1050"))


@pytest.mark.parametrize(
    "text", ["a:1", "a:1 0", "a:1 1100", "a:1 0 0", "a:1 0 989", "a:1 0 1011", "a:1 1000 1000"]
)
def test_a_note_without_a_good_time_of_use_says_nothing(text: str) -> None:
    assert remembered(request((b"x-who", note(text))), IDLE, 1000) == ""
    # Where use doesn't count, it may say so all the same.
    assert remembered(request((b"x-who", note(text))), HEADER, 999) == "a:1"


def test_a_client_that_has_its_note_is_told_nothing() -> None:
    assert renewed(request((b"x-who", note("a:1"))), HEADER, "a:1", 5) is None
    assert new(HEADER, "b:1", 5, (b"x-who", note("a:1"))) == (b"x-who", note("b:1"))


def test_who_says_nothing() -> None:
    assert remembered(request(), COOKIE, 0) == remembered(request(), HEADER, 0) == ""
