from __future__ import annotations

import pytest

from tests.waypoint.requests import request
from waypoint.routing import NOBODY, DirectResponse, Route, RouteTable, Source, VirtualHost
from waypoint.routing.conditions import Fraction, Match
from waypoint.routing.source import SourceMatch
from waypoint.routing.text import Kind, TextMatch

SHOP = TextMatch(Kind.EXACT, "shop")
ME = Source("shop", {"app": "web", "a.b/c": "shop"})


@pytest.mark.parametrize(
    ("match", "source", "accepts"),
    [
        (SourceMatch(SHOP), ME, True),
        (SourceMatch(SHOP), Source("other"), False),
        (SourceMatch(SHOP), NOBODY, False),
        (SourceMatch(SHOP, invert=True), NOBODY, True),
        (SourceMatch(SHOP, "a.b/c"), ME, True),
        (SourceMatch(SHOP, "app"), ME, False),
        (SourceMatch(SHOP, "none"), ME, False),
        (SourceMatch(SHOP, "none", invert=True), ME, True),
    ],
)
def test_sources(match: SourceMatch, source: Source, accepts: bool) -> None:
    assert match.accepts(source) is accepts


def test_nobody_is_in_no_namespace_even_if_any_would_do() -> None:
    assert not SourceMatch(TextMatch(Kind.REGEX, ".*")).accepts(NOBODY)


def test_tables_say_what_they_look_at() -> None:
    mine = Route("mine", DirectResponse(200), Match(source=(SourceMatch(SHOP),)))
    some = Route("some", DirectResponse(200), Match(fraction=Fraction(25, 100)))
    rest = Route("rest", DirectResponse(200))
    table = RouteTable("t", (VirtualHost("h", ("*",), (mine, some, rest)),))
    assert (table.reads_source, table.draws) == (True, True)
    plain = RouteTable("t", (VirtualHost("h", ("*",), (rest,)),))
    assert (plain.reads_source, plain.draws) == (False, False)

    def name(source: Source, drawn: float) -> str:
        found = table.match(request(), source, drawn)
        return found.name if found else ""

    assert name(ME, 0.9) == "mine"
    assert name(NOBODY, 0.2499) == "some"
    assert name(NOBODY, 0.25) == "rest"
