from __future__ import annotations

from typing import Any

import pytest

from waypoint.filters.jwt.claims import claim_at, header_value, normalized, padded


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("text", b"text"), ("ü", "ü".encode()), ("", b""), (None, b""),
        (True, b"true"), (False, b"false"), (0, b"0"), (5, b"5"), (5.0, b"5"),
        (2.5, b"2.500000"), (-3, b"-3.000000"), (1 << 64, b"18446744073709551616.000000"),
        (9007199254740993, b"9007199254740993"),
        (["a", 1], b"WyJhIiwxXQ=="), ({"a": None}, b"eyJhIjpudWxsfQ=="),
        ("a\r\nx-admin: 1", b""), ("a\x00", b""), ("a\x7f", b""),
        (" a", b""), ("a\tb", b"a\tb"),
    ],
)  # fmt: skip
def test_claims_as_headers(claim: Any, value: bytes) -> None:
    assert header_value(claim) == value


@pytest.mark.parametrize(
    ("path", "value"),
    [(["a"], {"b": {"c": 1}}), (["a", "b", "c"], 1), (["a", "x"], None), (["a.b"], 2),
     (["l", "0"], None), (["a", "b", "c", "d"], None)],
)  # fmt: skip
def test_nested_claims(path: list[str], value: Any) -> None:
    payload = {"a": {"b": {"c": 1}}, "a.b": 2, "l": [1]}
    assert claim_at(payload, path) == value


def test_texts_that_are_lists() -> None:
    payload = {"scope": "read  write", "roles": "x", "aud": "a b", "n": 5, "empty": " "}
    names = ("scope", "n", "gone", "empty")
    assert normalized(payload, names) == {**payload, "scope": ["read", "write"]}
    assert normalized(payload, ()) is payload
    assert payload["scope"] == "read  write"


def test_padding() -> None:
    assert [padded(text) for text in ("YQ", "YWI", "YWJj")] == ["YQ==", "YWI=", "YWJj"]
