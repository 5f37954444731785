from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tandem.plugins import Direction, Filter, FilterError, Request, Response
from tandem.plugins.testing import load, run


class Everything(Filter):
    """Sees all there is."""

    body_limit = 10

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.seen: list[object] = []

    def on_request(self, request: Request) -> Response | None:
        if request.path == "/no":
            return Response(403)
        request.state["length"] = len(request.body)
        request.headers["x-config"] = str(self.config)
        return None

    def on_response(self, request: Request, response: Response) -> None:
        response.headers["x-length"] = str(request.state["length"])

    def on_body(
        self, request: Request, data: bytes, last: bool, direction: Direction
    ) -> bytes | None:
        self.seen.append((direction.value, len(data), last))
        return data.upper() if direction is Direction.REQUEST else None


def test_a_request_goes_all_the_way() -> None:
    loaded = load(Everything, {"a": (1,)})
    assert loaded.hooks == ("on_request", "on_response", "on_body")
    outcome = run(
        loaded,
        Request("POST"),
        body=[b"ab", b"", b"c"],
        service=lambda request, body: Response(201, {"x-got": body.decode()}),
        pieces=[b"x" * 70_000, b"y"],
    )
    assert (outcome.forwarded, outcome.status, outcome.body) == (True, 201, b"ABC")
    assert outcome.headers.items() == [("x-got", "ABC"), ("x-length", "3")]
    assert outcome.request.headers["x-config"] == "{'a': [1]}"
    assert outcome.response.body == b"x" * 70_000 + b"y"
    assert isinstance(loaded.filter, Everything)
    assert loaded.filter.seen == [
        ("request", 2, False), ("request", 1, True),
        ("response", 65536, False), ("response", 4464, False), ("response", 1, True),
    ]  # fmt: skip


def test_an_answer_of_its_own_goes_to_nobody_else() -> None:
    def service(_request: Request, _body: bytes) -> Response:
        raise AssertionError

    outcome = run(load(Everything), Request("GET", "/no"), service=service)
    assert (outcome.forwarded, outcome.status) == (False, 403)
    assert "x-length" not in outcome.headers
    assert run(load(Everything), Request(), body=b"x" * 11).status == 413


@pytest.mark.parametrize(
    ("said", "message"),
    [(200, "on_request returned int"), ({"a": 1}, "on_request returned dict")],
)
def test_mistakes_are_named(said: object, message: str) -> None:
    class Wrong(Filter):
        def on_request(self, request: Request) -> Any:
            return said

    with pytest.raises(FilterError, match=message):
        run(load(Wrong), Request())


def test_mistakes_in_notes_headers_and_bodies_are_named() -> None:
    class Wrong(Filter):
        def on_request(self, request: Request) -> None:
            if self.config["of"] == "notes":
                request.notes["a"] = object()
            if self.config["of"] == "headers":
                request.headers = {}  # type: ignore[assignment]

        def on_response(self, request: Request, response: Response) -> Any:
            if self.config["of"] == "status":
                response.status = 204
            return response if self.config["of"] == "response" else None

        def on_body(self, request: Request, data: bytes, last: bool, direction: str) -> Any:
            return "text"

    def tried(of: str, body: bytes = b"") -> None:
        run(load(Wrong, {"of": of}), Request(), body=body)

    for of, message in {
        "notes": "request.notes can't be JSON",
        "headers": "request.headers was replaced",
        "response": "on_response returned Response",
        "status": "on_response made status 204 of 200",
    }.items():
        with pytest.raises(FilterError, match=message):
            tried(of)
    with pytest.raises(FilterError, match="on_body returned str: return bytes"):
        tried("", b"x")
