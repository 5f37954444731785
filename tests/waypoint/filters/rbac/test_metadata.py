from __future__ import annotations

from typing import Any

import pytest

from waypoint.filters.rbac.metadata import (
    EitherValue,
    MetadataMatch,
    Null,
    Number,
    OneOf,
    Present,
    Text,
    Truth,
    ValueMatch,
)
from waypoint.routing.text import Kind, TextMatch

NOTES: dict[str, Any] = {
    "f": {"a": "x", "l": ["x", 1], "n": None, "t": True, "d": 2, "o": {"a": "y"}}
}
X = Text(TextMatch(Kind.EXACT, "x"))


@pytest.mark.parametrize(
    ("path", "match", "holds"),
    [
        ("a", X, True),
        ("l", X, False),
        ("l", OneOf(X), True),
        ("a", OneOf(X), False),
        ("l", EitherValue((X, OneOf(Number(1, 1)))), True),
        ("n", Null(), True),
        ("gone", Null(), False),
        ("t", Truth(True), True),
        ("d", Truth(True), False),
        ("t", Number(1, 1), False),
        ("d", Number(1, 3), True),
        ("d", Number(0, 2), False),
        ("a", Present(True), True),
        ("n", Present(True), True),
        ("gone", Present(True), False),
        ("a", Present(False), False),
        ("o.a", Text(TextMatch(Kind.EXACT, "y")), True),
        ("a.b", Present(True), False),
    ],
)
def test_values(path: str, match: ValueMatch, holds: bool) -> None:
    found = MetadataMatch("f", tuple(path.split(".")), match)
    assert found.accepts(NOTES) is holds
    assert MetadataMatch("f", found.path, match, invert=True).accepts(NOTES) is not holds
    assert not found.accepts({})
