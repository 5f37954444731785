from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.ztunnel_compat.h2.ends import CONNECT, GET, OK, Clock, End, frame, pair, pump
from ztunnel_compat.h2.codes import (
    CONTINUATION,
    DATA,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCode,
)
from ztunnel_compat.h2.connection import Role
from ztunnel_compat.h2.encoder import Encoder
from ztunnel_compat.h2.errors import ConnectionFault
from ztunnel_compat.h2.limits import MAX_CAUSED, MAX_HEADS, Allowance, Limits
from ztunnel_compat.h2.section import Section


def block(headers=GET) -> bytes:
    return Encoder().encode(Section.of(headers))


def server() -> End:
    """A server with one open stream that reads and answers nothing."""
    end = End(Role.SERVER)
    end.connection.receive(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))
    end.connection.receive(frame(HEADERS, 4, 1, block(CONNECT)))
    end.take()
    return end


FLOODS: dict[str, Callable[[int], bytes]] = {
    "PING frames": lambda i: frame(PING, 0, 0, bytes(8)),
    "PING frames ": lambda i: frame(PING, 1, 0, bytes(8)),
    "SETTINGS frames": lambda i: frame(SETTINGS, 0, 0),
    "WINDOW_UPDATE frames": lambda i: frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
    "WINDOW_UPDATE frames ": lambda i: frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1"),
    "PRIORITY frames": lambda i: frame(PRIORITY, 0, 1, bytes(5)),
    "empty": lambda i: frame(DATA, 0, 1),
    "empty ": lambda i: frame(DATA, 8, 1, b"\0"),
    "unknown": lambda i: frame(99, 0, 1, b"x"),
    "streams reset early": lambda i: (
        frame(HEADERS, 4, 2 * i + 3, block()) + frame(RST_STREAM, 0, 2 * i + 3, bytes(4))
    ),
    "streams reset early, refused or broken": lambda i: frame(
        HEADERS, 5, 2 * i + 3, block([(b":method", b"GET")])
    ),
    "refused": lambda i: frame(HEADERS, 4, 2 * i + 3, block()),
    "RST_STREAM frames of ended": lambda i: (
        (frame(RST_STREAM, 0, 1, bytes(4)) * 10) if i else frame(RST_STREAM, 0, 1, bytes(4))
    ),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_the_connection(name):
    end = server()
    for i in range(1500):
        end.connection.receive(FLOODS[name](i))
        end.take()
        if end.fault is not None:
            break
    assert end.fault is not None
    assert end.fault.code is ErrorCode.ENHANCE_YOUR_CALM
    assert name.strip() in end.fault.reason
    assert end.connection.open_streams == 0


@pytest.mark.parametrize("name", FLOODS)
def test_what_comes_at_a_reasonable_rate_does_not(name):
    end = server()
    for i in range(250):
        end.connection.receive(FLOODS[name](i))
        end.take()
        end.clock.now += 0.2
    assert end.fault is None


def test_continuation_frames_without_end():
    end = server()
    end.connection.receive(frame(HEADERS, 0, 3, block()))
    for _ in range(65):
        assert end.fault is None
        end.connection.receive(frame(CONTINUATION, 0, 3))
    assert end.fault is not None
    assert "more than 64 CONTINUATION frames" in end.fault.reason


def test_a_header_block_without_end():
    end = server()
    end.connection.receive(frame(HEADERS, 0, 3, block()))
    for _ in range(20):
        end.connection.receive(frame(CONTINUATION, 0, 3, bytes(16_384)))
    assert end.fault is not None
    assert end.fault.code is ErrorCode.ENHANCE_YOUR_CALM
    assert "a header block of" in end.fault.reason


def test_answers_that_nobody_reads_are_bounded():
    end = server()
    for _ in range(100_000):
        end.connection.receive(frame(PING, 0, 0, bytes(8)))
        end.clock.now += 1
        if end.fault is not None:
            break
    assert end.fault is not None
    assert "answers are waiting to be read" in end.fault.reason
    assert len(end.take()) < MAX_CAUSED + 200


def answering(end: End, event) -> None:
    """Answers each request with a large head."""
    if event[0] == "request":
        stream = end.connection.streams[event[1]]
        end.connection.respond(stream, [*OK, (b"x", b"%d" % event[1] * 5000)], end=True)


def test_heads_that_nobody_reads_are_bounded():
    end = End(Role.SERVER, react=answering)
    end.connection.receive(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))
    for i in range(10_000):
        end.connection.receive(frame(HEADERS, 5, 2 * i + 1, block()))
        if end.fault is not None:
            break
    assert end.fault is not None
    assert "refused" in end.fault.reason
    assert len(end.take()) < MAX_HEADS + 2 * MAX_CAUSED


def test_heads_that_are_read_are_not():
    end = End(Role.SERVER, react=answering)
    end.connection.receive(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))
    for i in range(1000):
        end.connection.receive(frame(HEADERS, 5, 2 * i + 1, block()))
        end.take()
    assert end.fault is None
    assert len(end.seen("request")) == 1000


def test_a_client_opens_no_stream_while_its_requests_are_not_read():
    client, _ = pair()
    opened = 0
    while client.connection.can_open:
        stream = client.connection.request([*GET, (b"x-%d" % opened, b"v" * 20_000)], end=True)
        client.connection.reset(stream, ErrorCode.CANCEL)
        opened += 1
    assert opened * 15_000 < MAX_HEADS < opened * 21_000
    client.take()
    assert client.connection.can_open


def test_streams_reset_after_their_answer_are_no_flood():
    client, end = pair()
    for _ in range(3000):
        stream = client.connection.request(CONNECT)
        pump(client, end)
        end.connection.respond(end.connection.streams[stream.id], OK)
        client.connection.reset(stream, ErrorCode.CANCEL)
        pump(client, end)
    assert end.fault is None


def test_resets_that_cross_are_no_flood():
    """Both ends reset streams at once, again and again."""
    client, end = pair()
    for _ in range(2500):
        stream = client.connection.request(CONNECT)
        pump(client, end)
        there = end.connection.streams[stream.id]
        end.connection.respond(there, OK)
        end.connection.reset(there, ErrorCode.CANCEL)
        client.connection.reset(stream, ErrorCode.CANCEL)
        pump(client, end)
        client.clock.now += 0.001
        end.clock.now += 0.001
    assert (client.fault, end.fault) == (None, None)


def test_informational_responses_are_bounded_per_request():
    client, end = pair()
    client.connection.request(GET)
    pump(client, end)
    stream = end.connection.streams[1]
    for _ in range(17):
        end.connection.respond(stream, [(b":status", b"103")])
    pump(client, end)
    assert len(client.seen("response")) == 16
    assert client.seen("reset") == [("reset", 1, ErrorCode.ENHANCE_YOUR_CALM)]
    assert client.fault is None


def test_an_allowance_is_refilled_by_time():
    allowance = Allowance("things", 2, 10)
    allowance.spend(0)
    allowance.spend(0)
    with pytest.raises(ConnectionFault, match="more things than 2 at once and 10 a second"):
        allowance.spend(0.02)
    allowance.spend(0.12)
    for _ in range(2):
        allowance.spend(1000)
    with pytest.raises(ConnectionFault):
        allowance.spend(1000)


def test_data_that_is_sent_allows_updates_to_come_back():
    limits = Limits(Clock())
    for _ in range(100):
        limits.sent_data()
    for _ in range(1000 + 1600):
        limits.updates.spend(1000.0)
    with pytest.raises(ConnectionFault):
        limits.updates.spend(1000.0)
