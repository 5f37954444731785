from __future__ import annotations

import pytest

from waypoint.errors import MessageError
from waypoint.layers.headers import (
    FIELD_LIMIT,
    body_length,
    connection_options,
    kept_fields,
    list_items,
    split_fields,
)


def test_a_block_is_split_into_names_as_sent_and_values() -> None:
    block = b"Host: a\r\nX-Empty:\r\nx-y:\t b c \r\nobs: \xe9\r\n"
    assert split_fields(block) == [
        (b"Host", b"a"), (b"X-Empty", b""), (b"x-y", b"b c "), (b"obs", b"\xe9"),
    ]  # fmt: skip


def test_no_headers_are_a_block_too() -> None:
    assert split_fields(b"") == []


@pytest.mark.parametrize(
    "block",
    [
        b"Host : a\r\n",  # space before the colon
        b" Host: a\r\n",  # a folded line where none can be
        b"Host: a\r\n b\r\n",  # obs-fold
        b"Host: a\r\n\tb\r\n",
        b"Host: a\n",  # bare LF
        b"Host: a\r\nX: b\nY: c\r\n",
        b"Host: a\rb\r\n",  # bare CR
        b"Host: a\x00b\r\n",
        b"Host: a\x01\r\n",
        b"Host: a\x7f\r\n",
        b"Host\r\n",  # no colon
        b": a\r\n",  # no name
        b"H\xc3\xa9: a\r\n",
        b"Ho st: a\r\n",
        b"Host(: a\r\n",
        b"\r\n",
    ],
)
def test_what_breaks_the_grammar_is_refused(block: bytes) -> None:
    with pytest.raises(MessageError) as caught:
        split_fields(block)
    assert caught.value.status == 400


def test_a_hundred_headers_are_the_limit() -> None:
    assert len(split_fields(b"a: b\r\n" * FIELD_LIMIT)) == FIELD_LIMIT
    with pytest.raises(MessageError) as caught:
        split_fields(b"a: b\r\n" * (FIELD_LIMIT + 1))
    assert caught.value.status == 431


def test_list_items_join_lines_and_drop_empty_ones() -> None:
    assert list_items([b" A,, b\t", b"C"]) == [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    "value", [b"", b"-1", b"+1", b"1 1", b"0x1", b"1,1", b"1" * 19, b"\xb2", b"1_0"]
)
def test_a_length_is_digits(value: bytes) -> None:
    with pytest.raises(MessageError):
        body_length(value)


def test_lengths() -> None:
    assert body_length(b"0") == 0
    assert body_length(b"42 \t") == 42
    assert body_length(b"9" * 18) == 10**18 - 1


@pytest.mark.parametrize("name", [b"Host", b"content-length", b"Transfer-Encoding"])
def test_connection_must_not_name_framing(name: bytes) -> None:
    with pytest.raises(MessageError):
        connection_options([b"close, " + name])


def test_hop_by_hop_headers_are_dropped() -> None:
    fields = [
        (b"Connection", b"X-Mine, close"), (b"x-mine", b"1"), (b"Keep-Alive", b"5"),
        (b"Upgrade", b"h2c"), (b"TE", b"trailers"), (b"A", b"1"), (b"a", b"2"),
    ]  # fmt: skip
    assert kept_fields(fields, frozenset({b"x-mine", b"close"})) == b"A: 1\r\na: 2\r\n"
