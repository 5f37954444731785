from __future__ import annotations

import pytest

from tandem.plugins import FilterError, Headers


def test_names_in_any_case_with_several_values() -> None:
    headers = Headers([("X-A", "1"), ("b", " 2 "), ("x-a", "3")])
    assert not headers.changed
    assert headers["x-A"] == "1, 3"
    assert headers.get_all("X-a") == ["1", "3"]
    assert headers.get("c") is None
    assert headers.get("c", "d") == "d"
    assert list(headers) == ["x-a", "b"]
    assert len(headers) == 3
    assert "B" in headers
    assert "c" not in headers
    headers["X-A"] = "4"
    assert headers.items() == [("b", "2"), ("x-a", "4")]
    assert headers.changed
    del headers["b"]
    headers.remove("not-there")
    assert headers == Headers({"x-a": "4"}.items())
    with pytest.raises(KeyError):
        del headers["b"]
    with pytest.raises(KeyError):
        headers["b"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x-a", "a\r\nb: c", "a line end or NUL"),
        ("x-a", "a\0", "a line end or NUL"),
        ("x-a", "€", "only characters of ISO 8859-1"),
        ("x-a", 1, "takes a str, not int"),
        ("x-a", b"1", "takes a str, not bytes"),
        ("x-a", "x" * 20_000, "20000 characters: 16384 at most"),
        ("x a", "1", "'x a' is no header's name"),
        ("", "1", "'' is no header's name"),
        (b"x", "1", "a header's name is a str, not bytes"),
        ("Content-Length", "1", "content-length is the waypoint's"),
        ("Transfer-Encoding", "chunked", "transfer-encoding is the waypoint's"),
        ("Host", "a", "set request.authority"),
    ],
)
def test_what_no_header_can_be(name: str, value: str, message: str) -> None:
    headers = Headers([("x-a", "old")])
    with pytest.raises(FilterError, match=message):
        headers[name] = value
    with pytest.raises(FilterError, match=message):
        headers.add(name, value)
    assert headers.items() == [("x-a", "old")]


def test_there_is_an_end_to_them() -> None:
    headers = Headers([("x-a", "1")] * 200)
    with pytest.raises(FilterError, match="more than 200 headers"):
        headers.add("x-a", "2")
