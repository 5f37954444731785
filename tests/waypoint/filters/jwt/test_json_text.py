from __future__ import annotations

import pytest

from waypoint.filters.jwt.json_text import read_object


def test_an_object_is_read() -> None:
    text = '{"a": [1, 2.5, {"b": null}], "c": "\\u00fc ü"}'
    assert read_object(text.encode()) == {"a": [1, 2.5, {"b": None}], "c": "ü ü"}


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[]", b"5", b"null", b'{"a": 1', b"{'a': 1}", b'{"a": NaN}', b'{"a": Infinity}',
        b'{"a": 1, "a": 2}', b'{"x": {"a": 1, "a": 1}}', b'{"a": 1e999}', b'{"a": "\xff"}',
        b'{"a": "\\ud800"}', b'{"\\udfff": 1}', '{"a": 1}'.encode("utf-16"),
        b'{"a": ' + b"9" * 5000 + b"}", b'{"a": ' + b"9" * 400 + b"}",
        b'{"a":' * 200 + b"1" + b"}" * 200, b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)  # fmt: skip
def test_what_is_no_sound_object(text: bytes) -> None:
    assert read_object(text) is None


def test_depth_is_bounded() -> None:
    assert read_object(b'{"a":' * 99 + b"{}" + b"}" * 99) is not None
    assert read_object(b'{"a":' * 100 + b"{}" + b"}" * 100) is None
