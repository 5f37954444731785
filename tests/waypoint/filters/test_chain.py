"""Which settings filters have of a request's route, when it changes on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from waypoint.filters.chain import DISABLED, Chain, Placed, open_chain
from waypoint.filters.verdicts import PASSED, Asked, Passed
from waypoint.messages import Request
from waypoint.routing import NO_FACTS, NOBODY

REQUEST = Request(b"GET", b"http", b"web", b"/", ())
OTHER = REQUEST._replace(path=b"/other")


@dataclass(frozen=True)
class Says:
    """A filter that says one thing, and keeps what it was told."""

    name: str
    said: Passed = PASSED
    told: list[Any] = field(default_factory=list)
    clusters: tuple[str, ...] = ()
    reads_connection: bool = False
    reads_path: bool = True

    def decide(self, asked: Asked) -> Passed:
        self.told.append(asked.override)
        return self.said


@pytest.mark.parametrize(
    ("said", "by_notes", "told"),
    [
        (PASSED, True, ["first"]),
        (Passed(OTHER), False, ["first"]),
        (Passed(notes={"user": "anna"}), False, ["first"]),
        (Passed(notes={"user": "anna"}), True, ["/ anna"]),
        (Passed(OTHER), True, ["/other -"]),
        (Passed(OTHER, reroute=True), False, ["/other -"]),
        (Passed(OTHER, {"user": "anna"}, reroute=True), True, ["/other anna"]),
    ],
)
def test_a_route_s_settings_are_those_of_the_route_there_is(
    said: Passed, by_notes: bool, told: list[str]
) -> None:
    before, behind = Says("before", said), Says("behind")

    def anew(asked: Asked) -> Mapping[str, Any]:
        user = asked.notes.get("before", {}).get("user", "-")
        return {"behind": f"{asked.request.path.decode()} {user}"}

    asked = Asked(REQUEST, NOBODY, NO_FACTS)
    chain = Chain((Placed(before), Placed(behind)))
    open_chain(chain, asked, {"behind": "first"}, anew, by_notes=by_notes)
    assert behind.told == told


def test_what_changes_later_counts_once_the_route_is_looked_for() -> None:
    chain = Chain(
        (
            Placed(Says("a", Passed(reroute=True))),
            Placed(Says("b", Passed(OTHER))),
            Placed(behind := Says("c")),
        )
    )

    def anew(asked: Asked) -> Mapping[str, Any]:
        return {"c": DISABLED} if asked.request is REQUEST else {"c": "other"}

    open_chain(chain, Asked(REQUEST, NOBODY, NO_FACTS), {}, anew)
    assert behind.told == ["other"]
