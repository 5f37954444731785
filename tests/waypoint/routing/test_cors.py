from __future__ import annotations

import pytest

from tests.waypoint.requests import request
from waypoint.messages import Field, Response
from waypoint.routing import Cors, cors_fields, preflight
from waypoint.routing.text import Kind, TextMatch

ALL = Cors(
    origins=(TextMatch(Kind.EXACT, "http://a.test"), TextMatch(Kind.SUFFIX, ".b.test")),
    methods=b"GET, PUT",
    headers=b"x-a",
    exposed=b"x-b",
    max_age=b"60",
    credentials=True,
    private_network=True,
)
ASKS = ("origin: http://a.test", "access-control-request-method: PUT")


def named(fields: tuple[Field, ...]) -> dict[str, str]:
    return {
        name.decode().removeprefix("access-control-"): value.decode() for name, value in fields
    }


def test_a_preflight_is_answered() -> None:
    answer = preflight(request("/", *ASKS, method="OPTIONS"), ALL)
    assert answer is not None
    assert answer.status == 200
    assert named(answer.fields) == {
        "allow-origin": "http://a.test",
        "allow-credentials": "true",
        "allow-methods": "GET, PUT",
        "allow-headers": "x-a",
        "expose-headers": "x-b",
        "max-age": "60",
    }


def test_private_networks_are_told_only_who_asks() -> None:
    asks = (*ASKS, "access-control-request-private-network: true")
    answer = preflight(request("/", *asks, method="OPTIONS"), ALL)
    assert answer is not None
    assert named(answer.fields)["allow-private-network"] == "true"


@pytest.mark.parametrize(
    ("method", "lines"),
    [
        ("GET", ASKS),
        ("OPTIONS", ASKS[:1]),
        ("OPTIONS", ASKS[1:]),
        ("OPTIONS", ("origin: http://c.test", ASKS[1])),
    ],
)
def test_other_requests_are_for_the_service(method: str, lines: tuple[str, ...]) -> None:
    assert preflight(request("/", *lines, method=method), ALL) is None


def test_preflights_of_others_may_be_answered_without_a_permission() -> None:
    cors = Cors(origins=ALL.origins, methods=b"PUT", exposed=b"x", forward_others=False)
    asked = request("/", "origin: http://c.test", ASKS[1], method="OPTIONS")
    answer = preflight(asked, cors)
    assert answer == Response(200, ((b"access-control-allow-methods", b"PUT"),))


def test_what_responses_get() -> None:
    made = cors_fields(request("/", "origin: https://x.b.test"), ALL)
    assert named(made) == {
        "allow-origin": "https://x.b.test",
        "allow-credentials": "true",
        "expose-headers": "x-b",
    }
    assert cors_fields(request("/", "origin: http://c.test"), ALL) == ()
    assert cors_fields(request(), ALL) == ()


def test_any_origin() -> None:
    cors = Cors(origins=(TextMatch(Kind.EXACT, "*"),))
    assert named(cors_fields(request("/", "origin: null"), cors)) == {"allow-origin": "null"}
