from __future__ import annotations

import pytest

from tests.waypoint.requests import request
from waypoint.routing.edits import Action, Addition, Edits, edit_request, edit_response
from waypoint.routing.templates import parse_template


def adding(name: str, value: str, action: Action = Action.ADD, keep: bool = False) -> Addition:
    return Addition(name.encode(), parse_template(value), action, keep)


def edited(*levels: Edits) -> list[str]:
    made = edit_request(request("/", "a: 1", "b: 2", "a: 3"), levels)
    return [f"{name.decode()}: {value.decode()}" for name, value in made.fields]


@pytest.mark.parametrize(
    ("additions", "made"),
    [
        ([adding("a", "9")], ["a: 1", "b: 2", "a: 3", "a: 9"]),
        ([adding("a", "9", Action.SET)], ["b: 2", "a: 9"]),
        ([adding("c", "9", Action.SET)], ["a: 1", "b: 2", "a: 3", "c: 9"]),
        ([adding("a", "9", Action.ADD_IF_ABSENT)], ["a: 1", "b: 2", "a: 3"]),
        ([adding("c", "9", Action.ADD_IF_ABSENT)], ["a: 1", "b: 2", "a: 3", "c: 9"]),
        ([adding("a", "9", Action.SET_IF_PRESENT)], ["b: 2", "a: 9"]),
        ([adding("c", "9", Action.SET_IF_PRESENT)], ["a: 1", "b: 2", "a: 3"]),
        ([adding("c", "")], ["a: 1", "b: 2", "a: 3"]),
        ([adding("c", "", keep=True)], ["a: 1", "b: 2", "a: 3", "c: "]),
        ([adding("b", "", Action.SET)], ["a: 1", "b: 2", "a: 3"]),
        ([adding("b", "", Action.SET, keep=True)], ["a: 1", "a: 3", "b: "]),
        # Additions look at what was there before, and overwriting comes first.
        ([adding("b", "x"), adding("b", "y", Action.SET)], ["a: 1", "a: 3", "b: y", "b: x"]),
        ([adding("c", "x", Action.ADD_IF_ABSENT), adding("c", "y", Action.ADD_IF_ABSENT)],
         ["a: 1", "b: 2", "a: 3", "c: x", "c: y"]),
        ([adding("b", "%REQ(a)%"), adding("a", "9", Action.SET)], ["b: 2", "a: 9", "b: 1"]),
    ],
)  # fmt: skip
def test_additions(additions: list[Addition], made: list[str]) -> None:
    assert edited(Edits(add=tuple(additions))) == made


def test_removal_comes_first() -> None:
    level = Edits(frozenset({b"a"}), (adding("a", "9"), adding("c", "[%REQ(a)%]")))
    assert edited(level) == ["b: 2", "a: 9", "c: []"]


def test_levels_see_what_the_ones_before_did() -> None:
    first = Edits(frozenset({b"b"}), (adding("a", "x", Action.SET),))
    second = Edits(frozenset(), (adding("b", "%REQ(a)%", Action.ADD_IF_ABSENT),))
    assert edited(first, second) == ["a: x", "b: x"]


def test_responses_read_both_messages() -> None:
    level = Edits(frozenset({b"s"}), (adding("t", "%REQ(a)%-%RESP(r)%-%RESP(s)%"),))
    asked = request("/", "a: 1")
    made = edit_response(((b"r", b"2"), (b"s", b"3")), asked, (level,))
    assert made == ((b"r", b"2"), (b"t", b"1-2-"))
