from __future__ import annotations

import pytest

from waypoint.layers.response import parse_response
from waypoint.replies import local_reply


def test_replies_are_sound_responses() -> None:
    reply, sent = local_reply(503, b"no")
    assert reply == (
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n"
        b"content-type: text/plain\r\nconnection: close\r\n\r\nno"
    )
    assert sent == 2


@pytest.mark.parametrize("status", [200, 204, 304, 418, 505, 599])
def test_any_status_parses_again(status: int) -> None:
    reply, _ = local_reply(status, b"", close=False)
    head = parse_response(reply)
    assert (head.status, head.body, head.verbatim, head.keep_alive) == (status, 0, True, True)


def test_head_gets_the_headers_only() -> None:
    reply, sent = local_reply(404, b"gone", with_body=False)
    assert b"content-length: 4\r\n" in reply
    assert reply.endswith(b"\r\n\r\n")
    assert sent == 0
