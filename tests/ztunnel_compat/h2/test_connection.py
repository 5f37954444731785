from __future__ import annotations

import random

import pytest

from tests.ztunnel_compat.h2.ends import (
    CONNECT,
    GET,
    OK,
    POST,
    End,
    Event,
    frame,
    frames,
    pair,
    pump,
)
from tests.ztunnel_compat.h2.fuzz_session import Session
from ztunnel_compat.h2.codes import (
    DATA,
    GOAWAY,
    HEADERS,
    MAX_STREAM_ID,
    RST_STREAM,
    SETTINGS,
    ErrorCode,
)
from ztunnel_compat.h2.connection import Connection, Role, Settings
from ztunnel_compat.h2.errors import StreamLimitError, StreamStateError

WEBSOCKET = [
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"https"),
    (b":path", b"/chat"),
    (b":authority", b"a"),
]


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("seed", range(6))
def test_sessions_with_the_h2_library(seed, role):
    Session(seed, role).run(120)


@pytest.mark.soak
@pytest.mark.parametrize("role", list(Role))
def test_many_sessions_with_the_h2_library(role):
    for seed in range(400):
        Session(seed, role).run(random.Random(seed).choice([50, 200, 400]))


def test_a_tunnel_closes_one_direction_after_the_other():
    client, server = pair()
    stream = client.connection.request(CONNECT)
    pump(client, server)
    there = server.connection.streams[1]
    server.connection.respond(there, OK)
    client.connection.send_data(stream, b"ping", end=True)
    pump(client, server)
    assert server.events == [("request", 1, CONNECT, False), ("data", 1, b"ping", True)]
    assert client.events == [("response", 1, OK, False)]
    assert (client.connection.open_streams, server.connection.open_streams) == (1, 1)
    server.connection.send_data(there, b"pong", end=True)
    pump(client, server)
    assert client.events[1:] == [("data", 1, b"pong", True)]
    assert (client.connection.open_streams, server.connection.open_streams) == (0, 0)


def test_a_server_may_close_its_direction_of_a_tunnel_first():
    client, server = pair()
    stream = client.connection.request(CONNECT)
    pump(client, server)
    server.connection.respond(server.connection.streams[1], OK, end=True)
    pump(client, server)
    client.connection.send_data(stream, b"still here")
    pump(client, server)
    assert server.events[-1] == ("data", 1, b"still here", False)
    assert client.connection.open_streams == 1


@pytest.mark.parametrize("request_", [POST, CONNECT])
def test_a_response_that_ends_while_the_request_is_open_resets_it(request_):
    """And so does a refused CONNECT, which is no tunnel."""
    client, server = pair()
    stream = client.connection.request(request_)
    pump(client, server)
    there = server.connection.streams[1]
    server.connection.respond(there, [(b":status", b"503")])
    server.connection.send_data(there, b"no", end=True)
    written = server.take()
    assert frames(written)[-1] == (RST_STREAM, 0, 1, b"\0\0\0\0")
    client.connection.receive(written)
    assert client.seen("response", "data", "reset") == [
        ("response", 1, [(b":status", b"503")], False),
        ("data", 1, b"no", True),
    ]
    assert frames(client.take()) == [(RST_STREAM, 0, 1, b"\0\0\0\x08")]
    assert stream.finished
    assert (client.connection.open_streams, server.connection.open_streams) == (0, 0)


def test_extended_connect_needs_the_servers_consent():
    client, _ = pair()
    with pytest.raises(StreamStateError, match="RFC 8441"):
        client.connection.request(WEBSOCKET)
    client, server = pair(server=Settings(connect_protocol=True))
    stream = client.connection.request(WEBSOCKET)
    pump(client, server)
    server.connection.respond(server.connection.streams[1], OK)
    server.connection.send_data(server.connection.streams[1], b"hi", end=True)
    pump(client, server)
    assert server.events == [("request", 1, WEBSOCKET, False)]
    assert client.events[-1] == ("data", 1, b"hi", True)
    client.connection.send_data(stream, b"yo", end=True)
    pump(client, server)
    assert server.events[-1] == ("data", 1, b"yo", True)


def test_streams_are_limited_by_what_the_server_said():
    client, server = pair(server=Settings(max_streams=2))
    assert client.connection.max_streams == 2
    streams = [client.connection.request(CONNECT) for _ in range(2)]
    assert not client.connection.can_open
    with pytest.raises(StreamLimitError, match="2 of 2 are open"):
        client.connection.request(CONNECT)
    client.connection.reset(streams[0], ErrorCode.CANCEL)
    assert client.connection.can_open
    pump(client, server)
    assert list(server.connection.streams) == [3]


def test_a_client_runs_out_of_identifiers():
    client, server = pair()
    client.connection.state.table.next_id = MAX_STREAM_ID
    assert client.connection.request(CONNECT).id == MAX_STREAM_ID
    assert not client.connection.can_open
    with pytest.raises(StreamLimitError):
        client.connection.request(CONNECT)
    pump(client, server)
    assert server.events == [("request", MAX_STREAM_ID, CONNECT, False)]


def test_calls_out_of_turn():
    client, server = pair()
    stream = client.connection.request(POST, end=True)
    with pytest.raises(StreamStateError, match="no data may be sent on stream 1"):
        client.connection.send_data(stream, b"x")
    with pytest.raises(StreamStateError, match="no trailers"):
        client.connection.send_trailers(stream, [])
    pump(client, server)
    there = server.connection.streams[1]
    with pytest.raises(StreamStateError, match="no data may be sent"):
        server.connection.send_data(there, b"x")
    with pytest.raises(StreamStateError, match="can't end"):
        server.connection.respond(there, [(b":status", b"100")], end=True)
    server.connection.respond(there, OK)
    with pytest.raises(StreamStateError, match="a second response"):
        server.connection.respond(there, OK)
    for payload in (b"short", b"draining"):
        with pytest.raises(ValueError, match="must be 8 bytes"):
            client.connection.ping(payload)


def test_calls_for_streams_that_have_ended_do_nothing():
    client, _ = pair()
    stream = client.connection.request(POST)
    client.connection.reset(stream, ErrorCode.CANCEL)
    client.take()
    client.connection.reset(stream, ErrorCode.CANCEL)
    client.connection.respond(stream, OK)
    client.connection.send_trailers(stream, [])
    client.connection.consumed(stream, 5)
    assert client.connection.send_data(stream, b"x") == 0
    assert client.take() == b""


def test_a_transport_that_is_lost_ends_every_stream():
    client, _ = pair()
    for _ in range(2):
        client.connection.request(CONNECT)
    client.connection.lost()
    client.connection.lost()
    assert client.events == [
        ("reset", 1, ErrorCode.CANCEL),
        ("reset", 3, ErrorCode.CANCEL),
        ("closed", None),
    ]
    assert client.connection.closed
    assert not client.connection.can_open


def test_no_stream_can_be_used_while_a_fault_is_reported():
    """An owner that sends to another stream from on_reset writes nothing behind GOAWAY."""

    def react(end: End, event: Event) -> None:
        if event[0] == "reset":
            for stream in streams:
                assert end.connection.send_data(stream, b"late") == 0

    client = End(Role.CLIENT, react=react)
    client.connection.receive(frame(SETTINGS, 0, 0))
    streams = [client.connection.request(CONNECT) for _ in range(2)]
    client.connection.receive(frame(DATA, 0, 0))
    assert frames(client.take())[-1][0] == GOAWAY


def test_an_owner_may_answer_from_within():
    """Respond, echo and end from the handler, without waiting for receive() to return."""

    def echo(end: End, event: Event) -> None:
        connection: Connection = end.connection
        if event[0] == "request":
            connection.respond(connection.streams[event[1]], OK)
        if event[0] == "data":
            connection.send_data(connection.streams[event[1]], event[2], end=event[3])

    client, server = End(Role.CLIENT), End(Role.SERVER, react=echo)
    pump(client, server)
    streams = [client.connection.request(CONNECT) for _ in range(5)]
    for stream in streams:
        client.connection.send_data(stream, b"%d" % stream.id, end=True)
    pump(client, server)
    assert client.seen("data") == [("data", s.id, b"%d" % s.id, True) for s in streams]
    assert server.connection.open_streams == client.connection.open_streams == 0


def test_an_owner_may_reset_or_lose_the_connection_from_within():
    def leave(end: End, event: Event) -> None:
        if event[0] == "request" and event[1] == 1:
            end.connection.reset(end.connection.streams[1], ErrorCode.REFUSED_STREAM)
        elif event[0] == "request":
            end.connection.lost()

    client, server = End(Role.CLIENT), End(Role.SERVER, react=leave)
    pump(client, server)
    for _ in range(3):
        stream = client.connection.request(GET)
        client.connection.send_data(stream, b"content")
    server.connection.receive(client.take())
    assert [event[:2] for event in server.events] == [
        ("request", 1),
        ("request", 3),
        ("reset", 3),
        ("closed", None),
    ]


def test_a_head_seen_before_is_the_same_object_until_it_is_forgotten():
    heads: list[object] = []
    client, server = pair()
    server.connection.state.handler.on_request = lambda stream, headers, end: heads.append(
        headers
    )
    for _ in range(5):
        client.connection.request(CONNECT)
    pump(client, server)
    assert heads[3] is heads[4]
    server.connection.forget()
    client.connection.forget()
    client.connection.request(CONNECT)
    pump(client, server)
    assert heads[5] == heads[4]
    assert heads[5] is not heads[4]


def test_a_block_in_several_frames():
    client, server = pair(server=Settings(max_frame=16_384, header_list_limit=64 * 1024))
    headers = [*GET, (b"x-large", b"v" * 30_000)]
    client.connection.request(headers, end=True)
    written = client.take()
    assert [f[:2] for f in frames(written)] == [(HEADERS, 1), (9, 4)]
    server.connection.receive(written)
    assert server.events == [("request", 1, headers, True)]


def test_ten_thousand_streams_leave_nothing_behind():
    client, server = pair()
    for _ in range(100):
        streams = [client.connection.request(CONNECT) for _ in range(100)]
        pump(client, server)
        for stream in streams:
            there = server.connection.streams[stream.id]
            server.connection.respond(there, OK)
            server.connection.send_data(there, b"x", end=True)
            client.connection.send_data(stream, b"y", end=True)
        pump(client, server)
        client.events.clear()
        server.events.clear()
    for end in (client, server):
        state = end.connection.state
        assert not state.table.streams
        assert not state.table.resets
        assert not state.sender.ring
        assert state.inflow.held == 0
        assert end.fault is None
