from __future__ import annotations

import pytest

from tests.waypoint.requests import request
from waypoint.filters.soundness import BROKEN, checked, reframed
from waypoint.filters.verdicts import PASSED, Passed, Refusal
from waypoint.messages import Field, Request


@pytest.mark.parametrize(
    "more",
    [
        {"fields": ((b"a", b"b\r\nc: d"),)},
        {"fields": ((b"a", b"\0"),)},
        {"fields": ((b"a b", b"c"),)},
        {"fields": ((b"", b"c"),)},
        {"path": b"/a b"},
        {"path": b"/a\r\n"},
        {"path": b"/a#b"},
        {"path": b"a"},
        {"path": b""},
        {"method": b"GE T"},
        {"method": b""},
        {"authority": b"a\r\nb"},
        {"authority": b"a/b"},
    ],
)
def test_what_would_break_a_head_is_refused(more: dict[str, object]) -> None:
    broken = request("/a")._replace(**more)  # type: ignore[arg-type]
    assert checked(Passed(broken)) is BROKEN


@pytest.mark.parametrize("value", [b"", b"a b", b"a\tb", b"\xe4"])
def test_what_a_value_may_hold(value: bytes) -> None:
    verdict = Passed(request("/a?b=c%20d")._replace(fields=((b"a", value),)))
    assert checked(verdict) is verdict
    assert checked(PASSED) is PASSED


def test_a_refusal_has_fields_too() -> None:
    refusal = Refusal(403, b"", "no", fields=((b"location", b"/x\r\n"),))
    assert checked(refusal) is BROKEN
    fine = refusal._replace(fields=((b"location", b"/x"),))
    assert checked(fine) is fine


@pytest.mark.parametrize(
    "written",
    [
        (),
        ((b"content-length", b"0"),),
        ((b"transfer-encoding", b"chunked"),),
        ((b"connection", b"close"), (b"te", b"gzip"), (b"host", b"other")),
    ],
)
def test_a_body_ends_where_it_did(written: tuple[Field, ...]) -> None:
    before = request("/a", "content-length: 5", "x: y")
    after = Request(b"PUT", b"http", b"other", b"/b", (*written, (b"z", b"1")))
    framed = reframed(Passed(after), before)
    assert framed.fields == ((b"z", b"1"), (b"content-length", b"5"))
    assert framed[:4] == after[:4]


def test_without_a_change_it_is_the_same() -> None:
    before = request("/a", "x: y")
    assert reframed(PASSED, before) is before
    moved = before._replace(path=b"/b")
    assert reframed(Passed(moved), before) is moved
