from __future__ import annotations

import pytest

from tests.ztunnel_compat.h2.ends import CONNECT, OK, End, frame, frames, pair, pump
from ztunnel_compat.h2.codes import DATA, RST_STREAM, WINDOW_UPDATE, ErrorCode
from ztunnel_compat.h2.connection import Settings

WINDOW = 65_535
SMALL = Settings(stream_window=WINDOW, connection_window=WINDOW, held_limit=0)
ROOMY = Settings(stream_window=WINDOW, connection_window=WINDOW, held_limit=2 * WINDOW)


def tunnels(server_settings: Settings, count: int) -> tuple[End, End]:
    """A client with open tunnels to a server that doesn't consume by itself."""
    client, server = pair(server=server_settings)
    server.consume = False
    for _ in range(count):
        client.connection.request(CONNECT)
    pump(client, server)
    for stream in server.connection.streams.values():
        server.connection.respond(stream, OK)
    pump(client, server)
    return client, server


def credit(end: End) -> list[tuple[int, int]]:
    """(stream, increment) of the updates that an end writes."""
    return [
        (stream, int.from_bytes(payload, "big"))
        for kind, _, stream, payload in frames(end.take())
        if kind == WINDOW_UPDATE
    ]


def data(stream: int, size: int) -> bytes:
    """DATA frames of so much content."""
    found = b""
    while size:
        part = min(size, 16_384)
        found += frame(DATA, 0, stream, bytes(part))
        size -= part
    return found


def test_a_stream_gets_credit_when_its_data_was_passed_on():
    _, server = tunnels(SMALL, 1)
    server.connection.receive(data(1, 40_000))
    assert credit(server) == []
    stream = server.connection.streams[1]
    server.connection.consumed(stream, 30_000)
    assert credit(server) == []
    server.connection.consumed(stream, 10_000)
    assert sorted(credit(server)) == [(0, 40_000), (1, 40_000)]


def test_a_stalled_stream_does_not_pin_the_connection():
    _, server = tunnels(ROOMY, 3)
    for stream in (1, 3):
        server.connection.receive(data(stream, WINDOW))
    assert sum(increment for stream, increment in credit(server) if stream == 0) > WINDOW
    server.connection.receive(data(5, WINDOW))
    assert server.fault is None
    assert server.seen("reset") == []
    # Beyond held_limit the connection waits for its owners after all.
    assert server.connection.state.inflow.held == 3 * WINDOW
    assert sum(increment for stream, increment in credit(server) if stream == 0) < WINDOW


def test_beyond_what_may_be_held_the_connection_is_credited_when_data_is_passed_on():
    _, server = tunnels(SMALL, 2)
    server.connection.receive(data(1, 40_000))
    assert credit(server) == []
    server.connection.receive(data(3, 25_535))
    server.connection.receive(data(3, 1))
    assert server.fault is not None
    assert server.fault.code is ErrorCode.FLOW_CONTROL_ERROR


def test_a_violation_is_what_is_held_and_uncredited_beyond_the_window():
    _, server = tunnels(ROOMY, 1)
    stream = server.connection.streams[1]
    server.connection.receive(data(1, 60_000))
    # Passed on but not announced: the peer hasn't got this credit.
    server.connection.consumed(stream, 20_000)
    server.connection.receive(data(1, 5_536))
    assert server.seen("reset") == [("reset", 1, ErrorCode.FLOW_CONTROL_ERROR)]
    assert (RST_STREAM, 0, 1, b"\0\0\0\x03") in frames(server.take())
    assert server.fault is None


def test_padding_is_credited_at_once():
    _, server = tunnels(SMALL, 1)
    for _ in range(128):
        server.connection.receive(frame(DATA, 8, 1, b"\xff" + bytes(255)))
    assert sorted(credit(server)) == [(0, 128 * 256), (1, 128 * 256)]
    assert server.connection.state.inflow.held == 0


def test_data_of_streams_that_were_reset_is_credited():
    _, server = tunnels(SMALL, 2)
    server.connection.receive(data(1, 30_000))
    server.connection.reset(server.connection.streams[1], ErrorCode.CANCEL)
    server.connection.receive(data(1, 10_000))
    assert credit(server) == [(0, 40_000)]
    assert server.fault is None
    assert len(server.seen("data")) == 2


def test_what_a_stream_held_is_given_back_when_it_is_reset():
    _, server = tunnels(SMALL, 1)
    server.connection.receive(data(1, 40_000))
    assert credit(server) == []
    server.connection.receive(frame(RST_STREAM, 0, 1, bytes(4)))
    assert credit(server) == [(0, 40_000)]


def test_a_frame_that_is_cut_off_by_a_reset_is_counted_once():
    _, server = tunnels(SMALL, 2)
    whole = frame(DATA, 0, 1, bytes(16_000))
    server.connection.receive(whole[:5_000])
    server.connection.reset(server.connection.streams[1], ErrorCode.CANCEL)
    server.connection.receive(whole[5_000:])
    inflow = server.connection.state.inflow
    assert (inflow.held, inflow.unannounced) == (0, 16_000)


def test_more_cannot_be_consumed_than_came():
    _, server = tunnels(SMALL, 1)
    server.connection.receive(data(1, 10))
    stream = server.connection.streams[1]
    with pytest.raises(ValueError, match="11 bytes consumed of 10 on stream 1"):
        server.connection.consumed(stream, 11)
    server.connection.reset(stream, ErrorCode.CANCEL)
    server.connection.consumed(stream, 10)


def test_an_ended_stream_needs_no_credit():
    _, server = tunnels(SMALL, 1)
    server.connection.receive(data(1, 40_000) + frame(DATA, 1, 1))
    server.connection.consumed(server.connection.streams[1], 40_000)
    assert credit(server) == [(0, 40_000)]
