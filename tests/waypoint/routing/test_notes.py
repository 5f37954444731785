from __future__ import annotations

from typing import Any

import pytest

from waypoint.routing.notes import (
    HasOne,
    IsBool,
    IsNull,
    IsNumber,
    IsOne,
    IsPresent,
    IsText,
    NoteMatch,
    ValueMatch,
)
from waypoint.routing.text import Kind, TextMatch

A = IsText(TextMatch(Kind.EXACT, "a"))


@pytest.mark.parametrize(
    ("match", "value", "accepted"),
    [
        (A, "a", True), (A, "b", False), (A, ["a"], False), (A, None, False), (A, 5, False),
        (IsBool(True), True, True), (IsBool(True), 1, False), (IsBool(False), False, True),
        (IsPresent(True), None, True), (IsPresent(False), None, False),
        (IsNull(), None, True), (IsNull(), 0, False), (IsNumber(1, 1), True, False),
        (IsNumber(1, 1), 1, True), (IsNumber(1, 3), 2, True), (IsNumber(0, 2), 2, False),
        (IsPresent(False), "a", False), (IsOne((A, HasOne(IsNumber(1, 1)))), ["a", 1], True),
        (HasOne(A), ["b", "a"], True), (HasOne(A), [], False), (HasOne(A), "a", False),
        (HasOne(HasOne(A)), [["a"]], True),
        (IsOne((HasOne(A), A)), "a", True), (IsOne((HasOne(A), A)), ["a"], True),
        (IsOne((HasOne(A), A)), "b", False),
    ],
)  # fmt: skip
def test_values(match: ValueMatch, value: Any, accepted: bool) -> None:
    notes = {"f": {"x": {"y": value}}}
    assert NoteMatch("f", ("x", "y"), match).accepts(notes) is accepted
    assert NoteMatch("f", ("x", "y"), match, invert=True).accepts(notes) is not accepted


@pytest.mark.parametrize(
    "notes", [{}, {"f": {}}, {"f": {"x": "y"}}, {"f": {"x": ["y"]}}, {"g": {"x": {"y": "a"}}}]
)
def test_what_is_not_there(notes: dict[str, Any]) -> None:
    assert not NoteMatch("f", ("x", "y"), A).accepts(notes)
    assert NoteMatch("f", ("x", "y"), A, invert=True).accepts(notes)
    assert not NoteMatch("f", ("x", "y"), IsNull()).accepts(notes)
    assert not NoteMatch("f", ("x", "y"), IsPresent(True)).accepts(notes)
    assert not NoteMatch("f", ("x", "y"), IsPresent(False)).accepts(notes)


def test_in_words() -> None:
    shown = NoteMatch("f", ("x",), IsOne((HasOne(A), IsBool(True))), invert=True)
    assert str(shown) == f"f[x] not has one that {A} or is true"
