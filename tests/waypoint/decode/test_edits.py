from __future__ import annotations

from typing import Any

import pytest

from tests.waypoint.decode.messages import forward, sole
from waypoint.errors import RouteError
from waypoint.routing.edits import Action, Addition, Edits
from waypoint.routing.templates import parse_template


def option(key: str = "X-A", value: str = "1", **more: Any) -> dict[str, Any]:
    return {"header": {"key": key, "value": value}, **more}


@pytest.mark.parametrize(
    ("more", "action"),
    [
        ({}, Action.ADD),
        ({"append_action": "ADD_IF_ABSENT"}, Action.ADD_IF_ABSENT),
        ({"append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}, Action.SET),
        ({"append_action": "OVERWRITE_IF_EXISTS"}, Action.SET_IF_PRESENT),
        ({"append": True}, Action.ADD),
        ({"append": False}, Action.SET),
    ],
)
def test_actions(more: dict[str, Any], action: Action) -> None:
    edits = sole({"response_headers_to_add": [option(**more)]}).response_edits
    assert edits == (Edits(add=(Addition(b"x-a", parse_template("1"), action),)),)


def test_empty_values() -> None:
    ((addition,),) = (
        e.add
        for e in sole(
            {"request_headers_to_add": [option(value="", keep_empty_value=True)]}
        ).request_edits
    )
    assert addition.keep_empty


def removing(name: str) -> dict[str, Any]:
    return {"request_headers_to_remove": [name], "response_headers_to_remove": [name]}


@pytest.mark.parametrize(
    ("reverse", "order"),
    [(False, ["route", "vhost", "top"]), (True, ["top", "vhost", "route"])],
)
def test_levels(reverse: bool, order: list[str]) -> None:
    made = sole(
        removing("route"),
        host=removing("vhost"),
        **removing("top"),
        most_specific_header_mutations_wins=reverse,
    )
    wanted = tuple(Edits(frozenset({name.encode()})) for name in order)
    assert (made.request_edits, made.response_edits) == (wanted, wanted)


@pytest.mark.parametrize(
    ("level", "named"),
    [
        ({"request_headers_to_add": [option(":path")]}, "':path' is no header's name"),
        ({"request_headers_to_add": [option("Host")]}, "host"),
        ({"request_headers_to_add": [option("a b")]}, "'a b'"),
        ({"request_headers_to_add": [option(value="%NOW%")]}, "%NOW% is not supported"),
        ({"request_headers_to_add": [option(value="a\r\nb: c")]}, "line end"),
        ({"request_headers_to_add": [option(append=True, append_action="ADD_IF_ABSENT")]},
         "append is set beside append_action"),
        ({"request_headers_to_add": [{"header": {"key": "a", "raw_value": "AAAA"}}]},
         "raw_value"),
        ({"request_headers_to_remove": [":method"]}, "':method'"),
        ({"response_headers_to_remove": ["host"]}, "host"),
        ({"response_headers_to_remove": ["Content-Length"]}, "content-length"),
        ({"request_headers_to_add": [option("transfer-encoding")]}, "transfer-encoding"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_named(level: dict[str, Any], named: str) -> None:
    for place in ({"host": level}, level):
        with pytest.raises(RouteError, match=named):
            sole({}, **place)
    with pytest.raises(RouteError, match=named):
        sole(level)
    with pytest.raises(RouteError, match=named):
        forward({"weighted_clusters": {"clusters": [{"name": "a", "weight": 1, **level}]}})
