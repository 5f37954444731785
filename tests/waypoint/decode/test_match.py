from __future__ import annotations

from typing import Any

import pytest

from tests.waypoint.decode.messages import sole
from waypoint.errors import RouteError
from waypoint.routing.conditions import Fraction, Match
from waypoint.routing.notes import (
    HasOne,
    IsBool,
    IsNull,
    IsNumber,
    IsOne,
    IsPresent,
    IsText,
    NoteMatch,
)
from waypoint.routing.source import SourceMatch
from waypoint.routing.text import Kind, TextMatch

SHOP = {"string_match": {"exact": "shop"}}
IS_SHOP = TextMatch(Kind.EXACT, "shop")
SOURCE = "tandem.io/source"


def match(**more: Any) -> Match:
    return sole({"match": {"prefix": "", **more}}).match


def metadata(*keys: str, **more: Any) -> dict[str, Any]:
    path = [{"key": key} for key in keys]
    return {"filter": SOURCE, "path": path, "value": SHOP, **more}


def test_nothing() -> None:
    assert match() == Match()


def test_grpc() -> None:
    assert match(grpc={}) == Match(grpc=True)


@pytest.mark.parametrize(
    ("percent", "fraction"),
    [
        ({"numerator": 5}, Fraction(5, 100)),
        ({"numerator": 5, "denominator": "TEN_THOUSAND"}, Fraction(5, 10_000)),
        ({"numerator": 5, "denominator": "MILLION"}, Fraction(5, 1_000_000)),
        ({}, Fraction(0, 100)),
    ],
)
def test_fractions(percent: dict[str, Any], fraction: Fraction) -> None:
    share = {"default_value": percent, "runtime_key": "k"}
    assert match(runtime_fraction=share) == Match(fraction=fraction)


def test_sources() -> None:
    wanted = [metadata("namespace"), metadata("labels", "a.b/c", invert=True)]
    assert match(dynamic_metadata=wanted).source == (
        SourceMatch(IS_SHOP),
        SourceMatch(IS_SHOP, "a.b/c", invert=True),
    )


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (metadata("namespace", filter=""), "filter or path is empty"),
        (metadata(filter="x"), "filter or path is empty"),
        (metadata("a", filter="x", value={}), "match_pattern is missing"),
        (metadata("a", filter="x", value={"list_match": {}}), "one_of.match_pattern"),
        (metadata("labels"), "path"),
        (metadata("labels", "a", "b"), "path"),
        (metadata("name"), "path"),
        (metadata("namespace", value={"present_match": True}), "present_match"),
    ],
)
def test_other_metadata_is_named(wanted: dict[str, Any], named: str) -> None:
    with pytest.raises(RouteError, match=rf"match\.dynamic_metadata\[0\].*{named}"):
        match(dynamic_metadata=[wanted])


@pytest.mark.parametrize("prefix", ["/", "/a/", "/a?b", "/a#b"])
def test_separated_prefixes_are_whole(prefix: str) -> None:
    with pytest.raises(RouteError, match="path_separated_prefix"):
        sole({"match": {"path_separated_prefix": prefix}})


def test_where_a_bad_expression_is() -> None:
    bad = {"name": "x", "string_match": {"safe_regex": {"regex": "(?=x)"}}}
    with pytest.raises(
        RouteError, match=r"headers\[0\]\.string_match\.safe_regex\.regex: .*\?="
    ):
        match(headers=[bad])


def test_what_filters_found() -> None:
    text = {"string_match": {"exact": "shop"}}
    either = {"or_match": {"value_matchers": [{"list_match": {"one_of": text}}, text]}}
    wanted = [
        metadata("payload", "groups", filter="jwt", value=either),
        metadata("a", filter="x", value={"bool_match": True}, invert=True),
        metadata("a", filter="x", value={"present_match": True}),
        metadata("a", filter="x", value={"null_match": {}}),
        metadata("a", filter="x", value={"double_match": {"exact": 2}}),
        metadata("a", filter="x", value={"double_match": {"range": {"start": 1, "end": 3}}}),
    ]
    assert match(dynamic_metadata=wanted).notes == (
        NoteMatch(
            "jwt", ("payload", "groups"), IsOne((HasOne(IsText(IS_SHOP)), IsText(IS_SHOP)))
        ),
        NoteMatch("x", ("a",), IsBool(True), invert=True),
        NoteMatch("x", ("a",), IsPresent(True)),
        NoteMatch("x", ("a",), IsNull()),
        NoteMatch("x", ("a",), IsNumber(2, 2)),
        NoteMatch("x", ("a",), IsNumber(1, 3)),
    )
