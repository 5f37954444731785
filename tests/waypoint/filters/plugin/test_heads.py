"""What the host says is believed only as far as it can be in a message."""

from __future__ import annotations

import json
import random

import pytest

from waypoint.errors import PluginError
from waypoint.filters.plugin.heads import (
    changed_request,
    changed_response,
    passed_request,
    read_fields,
    refusal_said,
    request_said,
)
from waypoint.filters.verdicts import Asked, Passed
from waypoint.messages import Request, Response
from waypoint.routing import Facts, Source

REQUEST = Request(
    b"GET", b"http", b"web", b"/a", ((b"x-a", b"\xe9"), (b"content-length", b"3"))
)
ASKED = Asked(REQUEST, Source("apps", {"app": "web"}), Facts("HTTP/1.1", None, None, ""))


def test_a_request_is_told_and_comes_back_as_it_was() -> None:
    said = request_said(ASKED, "spiffe://x", "r")
    assert said["caller"] == ["spiffe://x", "apps", {"app": "web"}]
    assert said["headers"] == [("x-a", "é"), ("content-length", "3")]
    back = json.loads(json.dumps(said))
    assert passed_request(ASKED, {"headers": back["headers"]}) == Passed()
    assert passed_request(ASKED, {}) == Passed()


def test_what_may_change() -> None:
    said = {
        "path": "/b",
        "authority": "other",
        "headers": [["content-length", "3"], ["x", "é"]],
    }
    found = passed_request(ASKED, {**said, "notes": {"a": 1}, "reroute": True})
    assert found == Passed(
        Request(b"GET", b"http", b"other", b"/b", ((b"content-length", b"3"), (b"x", b"\xe9"))),
        {"a": 1},
        reroute=True,
    )
    response = Response(200, ((b"a", b"b"),))
    assert changed_response(response, {"status": 500}) == Response(500, ((b"a", b"b"),))
    assert changed_response(response, {"headers": []}) == Response(200, ())
    refusal = refusal_said({"status": 429, "answer": [["retry-after", "1"]]}, b"no")
    assert (refusal.status, refusal.body) == (429, b"no")
    assert refusal.fields == ((b"retry-after", b"1"),)


@pytest.mark.parametrize(
    "said",
    [
        {"path": "b"}, {"path": "/a b"}, {"path": "/a\r\nx: y"}, {"path": 1}, {"path": "/€"},
        {"authority": "a b"}, {"authority": "A"}, {"authority": None},
        {"headers": {}}, {"headers": [1]}, {"headers": [["a"]]}, {"headers": [["a", 1]]},
        {"headers": []}, {"headers": [["content-length", "4"]]},
        {"headers": [["content-length", "3"], ["content-length", "3"]]},
        {"headers": [["content-length", "3"], ["transfer-encoding", "chunked"]]},
        {"headers": [["content-length", "3"], ["a", "b\r\nc: d"]]},
        {"headers": [["content-length", "3"], ["A", "b"]]},
        {"headers": [["content-length", "3"], [":path", "/"]]},
        {"headers": [["content-length", "3"], ["a", "x" * 70_000]]},
    ],
)  # fmt: skip
def test_what_no_request_can_be(said: dict[str, object]) -> None:
    with pytest.raises(PluginError):
        changed_request(REQUEST, said)


@pytest.mark.parametrize("status", [100, 199, 600, "200", None, 204, 304])
def test_what_no_status_can_be(status: object) -> None:
    with pytest.raises(PluginError):
        changed_response(Response(200, ()), {"status": status})


def test_whatever_is_said_a_message_stays_one() -> None:
    drawn = random.Random(3)
    pieces = [
        "a",
        "content-length",
        "host",
        "\r\n",
        "\0",
        "é",
        "€",
        ":",
        "",
        "x-b",
        "3",
        5,
        None,
    ]
    passed = 0
    for _ in range(5000):
        said = [[drawn.choice(pieces) for _ in range(2)] for _ in range(drawn.randrange(3))]
        try:
            fields = read_fields([["content-length", "3"], *said], REQUEST.fields)
        except PluginError:
            continue
        passed += 1
        text = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
        assert text.count(b"\r\n") == len(fields)
        names = [name for name, _ in fields]
        assert names.count(b"content-length") == 1
        assert b"host" not in names
    assert passed > 50
