from __future__ import annotations

import pytest

from tests.ztunnel_compat.h2.ends import CONNECT, GET, OK, End, frame, frames, pair, pump
from ztunnel_compat.h2.codes import (
    ACK,
    GOAWAY,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCode,
)
from ztunnel_compat.h2.connection import Role
from ztunnel_compat.h2.errors import StreamLimitError


def greeted(role: Role = Role.CLIENT) -> End:
    end = End(role)
    if role is Role.SERVER:
        end.connection.receive(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    end.connection.receive(frame(SETTINGS, 0, 0))
    end.take()
    return end


def goaway(last: int, code: int = 0) -> bytes:
    return frame(GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big"))


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (frame(PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR, "PING on stream 1"),
        (frame(PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR, "PING of 7 bytes, not 8"),
        (frame(SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR, "SETTINGS on stream 1"),
        (frame(SETTINGS, ACK, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR, "acknowledgement of 6"),
        (frame(SETTINGS, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of 5"),
        (frame(GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR, "GOAWAY on stream 1"),
        (frame(GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR, "GOAWAY of 7"),
        (frame(RST_STREAM, 0, 1, bytes(3)), ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM of 3"),
        (
            frame(RST_STREAM, 0, 0, bytes(4)),
            ErrorCode.PROTOCOL_ERROR,
            "stream 0, which is idle",
        ),
        (
            frame(RST_STREAM, 0, 9, bytes(4)),
            ErrorCode.PROTOCOL_ERROR,
            "stream 9, which is idle",
        ),
        (frame(WINDOW_UPDATE, 0, 0, bytes(4)), ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0"),
        (frame(WINDOW_UPDATE, 0, 9, b"\0\0\0\1"), ErrorCode.PROTOCOL_ERROR, "which is idle"),
        (frame(WINDOW_UPDATE, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR, "of 5 bytes, not 4"),
        (frame(PRIORITY, 0, 0, bytes(5)), ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0"),
        (frame(PRIORITY, 0, 9, bytes(4)), ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of 4"),
        (frame(PUSH_PROMISE, 4, 1, bytes(9)), ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE"),
    ],
)
def test_what_ends_the_connection(data, code, reason):
    end = greeted()
    end.connection.receive(data)
    assert end.fault is not None
    assert end.fault.code is code
    assert reason in end.fault.reason
    kind, _, stream, payload = frames(end.take())[-1]
    assert (kind, stream, payload[4:8]) == (GOAWAY, 0, code.to_bytes(4, "big"))
    assert payload[8:].decode() == end.fault.reason


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(WINDOW_UPDATE, 0, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
        (frame(PRIORITY, 0, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
    ],
)
def test_what_ends_a_stream(data, code):
    end = greeted()
    end.connection.request(GET)
    end.take()
    end.connection.receive(data)
    assert end.events == [("reset", 1, code)]
    assert frames(end.take()) == [(RST_STREAM, 0, 1, code.to_bytes(4, "big"))]
    assert end.connection.open_streams == 0


def test_pings_are_answered_and_answers_reported():
    end = greeted()
    end.connection.receive(frame(PING, 0, 0, b"abcdefgh") + frame(PING, ACK, 0, b"12345678"))
    assert frames(end.take()) == [(PING, ACK, 0, b"abcdefgh")]
    assert end.events == [("pong", b"12345678")]


def test_settings_are_acknowledged_and_an_acknowledgement_is_not():
    end = greeted()
    end.connection.receive(frame(SETTINGS, 0, 0) + frame(SETTINGS, ACK, 0))
    assert frames(end.take()) == [(SETTINGS, ACK, 0, b"")]


def test_priorities_mean_nothing():
    end = greeted()
    end.connection.receive(frame(PRIORITY, 0, 77, bytes(5)))
    assert (end.events, end.take()) == ([], b"")


def test_a_reset_by_the_peer_ends_the_stream_with_its_code():
    client, server = pair()
    stream = client.connection.request(GET)
    pump(client, server)
    client.connection.reset(stream, ErrorCode.CANCEL)
    pump(client, server)
    assert server.seen("reset") == [("reset", 1, ErrorCode.CANCEL)]
    assert client.seen("reset") == []
    assert server.connection.open_streams == client.connection.open_streams == 0


def test_frames_for_streams_that_have_ended_are_ignored():
    client, server = pair()
    client.connection.request(GET, end=True)
    pump(client, server)
    server.connection.respond(server.connection.streams[1], OK, end=True)
    pump(client, server)
    late = frame(RST_STREAM, 0, 1, bytes(4)) + frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1")
    server.connection.receive(late)
    assert (server.take(), server.fault) == (b"", None)


def test_goaway_refuses_the_streams_it_does_not_name():
    end = greeted()
    for _ in range(3):
        end.connection.request(CONNECT)
    end.connection.receive(goaway(3, 11))
    assert end.events == [("reset", 5, ErrorCode.REFUSED_STREAM), ("goaway", 3, 11)]
    assert list(end.connection.streams) == [1, 3]
    assert end.connection.draining
    assert not end.connection.drained
    with pytest.raises(StreamLimitError, match="draining: True"):
        end.connection.request(CONNECT)


def test_a_drain_loses_no_request():
    client, server = pair()
    client.connection.request(CONNECT)
    pump(client, server)
    server.connection.goaway()
    there = server.take()
    # Under way while the server says goodbye.
    client.connection.request(CONNECT)
    server.connection.receive(client.take())
    assert len(server.seen("request")) == 2
    client.connection.receive(there)
    assert client.seen("goaway") == [("goaway", 2**31 - 1, 0)]
    assert not client.connection.can_open
    pump(client, server)
    assert client.seen("goaway")[1:] == [("goaway", 3, 0)]
    assert client.seen("reset") == []
    # From here on new ones are refused.
    server.connection.receive(frame(1, 4, 5, b"\x02\x07CONNECT\x01\x01a"))
    assert frames(server.take()) == [(RST_STREAM, 0, 5, b"\0\0\0\x07")]
    for end in (client, server):
        assert not end.connection.drained
    for stream in list(server.connection.streams.values()):
        server.connection.reset(stream, ErrorCode.CANCEL)
    pump(client, server)
    assert client.connection.drained
    assert server.connection.drained


def test_a_drain_after_the_clients_goaway():
    client, server = pair()
    client.connection.goaway()
    pump(client, server)
    assert server.seen("goaway") == [("goaway", 0, 0)]
    server.connection.goaway()
    pump(client, server)
    assert server.connection.drained
    assert [event[1] for event in client.seen("goaway")] == [2**31 - 1, 0]


def test_goaway_is_sent_once():
    _, server = pair()
    server.connection.goaway()
    server.connection.goaway()
    assert [f[0] for f in frames(server.take())] == [GOAWAY, PING]
