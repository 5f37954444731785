"""Answers of unary calls: one message, or an error."""

from __future__ import annotations

import pytest

from waypoint.errors import InquiryError
from waypoint.filters.inquiry import Answered
from waypoint.filters.unary import message_of
from waypoint.messages import Field

GOOD = (b"grpc-status", b"0")
HELLO = b"\0\0\0\0\x05hello"


def answer(body: bytes, *trailers: Field, status: int = 200) -> Answered:
    return Answered(status, (), body, trailers)


def test_a_message() -> None:
    assert message_of(answer(HELLO, GOOD)) == b"hello"
    assert message_of(answer(b"\0" * 5, GOOD)) == b""
    assert message_of(Answered(200, (GOOD,), HELLO, ())) == b"hello"


@pytest.mark.parametrize(
    ("said", "named"),
    [
        (answer(HELLO, GOOD, status=503), "status 503"),
        (answer(HELLO), "grpc-status none"),
        (answer(HELLO, (b"grpc-status", b"7"), (b"grpc-message", b"no")), "grpc-status 7 no"),
        (answer(b"", GOOD), "without a message"),
        (answer(b"\1" + HELLO[1:], GOOD), "compressed"),
        (answer(HELLO[:-1], GOOD), "no single message"),
        (answer(HELLO * 2, GOOD), "no single message"),
    ],
)
def test_anything_else_is_no_answer(said: Answered, named: str) -> None:
    with pytest.raises(InquiryError, match=named):
        message_of(said)
