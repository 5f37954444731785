from __future__ import annotations

import pytest

from waypoint.layers.response import parse_response
from waypoint.replies import grpc_answer, local_reply, plain_answer


def test_replies_are_sound_responses() -> None:
    reply, sent = local_reply(plain_answer(503, b"no"))
    assert reply == (
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n"
        b"content-type: text/plain\r\nconnection: close\r\n\r\nno"
    )
    assert sent == 2


@pytest.mark.parametrize("status", [200, 204, 304, 418, 505, 599])
def test_any_status_parses_again(status: int) -> None:
    reply, _ = local_reply(plain_answer(status, b""), close=False)
    head = parse_response(reply)
    assert (head.status, head.body, head.verbatim, head.keep_alive) == (status, 0, True, True)


def test_head_gets_the_headers_only() -> None:
    reply, sent = local_reply(plain_answer(404, b"gone"), with_body=False)
    assert b"content-length: 4\r\n" in reply
    assert reply.endswith(b"\r\n\r\n")
    assert sent == 0


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, b"13"), (401, b"16"), (403, b"7"), (404, b"12"), (429, b"14"), (502, b"14"),
        (503, b"14"), (504, b"14"), (408, b"2"), (500, b"2"), (200, b"2"),
    ],
)  # fmt: skip
def test_grpc_callers_are_told_in_their_way(status: int, code: bytes) -> None:
    answer = grpc_answer(status, "caf\u00e9 100%\n".encode())
    assert answer.status == 200
    assert answer.body == b""
    assert answer.grpc_status == code
    assert dict(answer.fields) == {
        b"content-type": b"application/grpc",
        b"grpc-status": code,
        b"grpc-message": b"caf%C3%A9 100%25",
    }


def test_a_grpc_status_of_its_own() -> None:
    assert grpc_answer(408, b"", 4).fields[1] == (b"grpc-status", b"4")
