from __future__ import annotations

import random

import pytest

from tests.ztunnel_compat.h2.ends import CONNECT, GET, OK, POST, End, Event, frame, frames
from tests.ztunnel_compat.h2.fuzz_bytes import one_stream
from ztunnel_compat.h2.codes import (
    CONTINUATION,
    DATA,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    ErrorCode,
)
from ztunnel_compat.h2.connection import Headers, Role, Settings
from ztunnel_compat.h2.encoder import Encoder
from ztunnel_compat.h2.literals import literal
from ztunnel_compat.h2.section import Section

SETTLED = PREFACE + frame(SETTINGS, 0, 0)


def block(headers: Headers) -> bytes:
    return Encoder().encode(Section.of(headers))


def server(settings: Settings | None = None) -> End:
    end = End(Role.SERVER, settings)
    end.connection.receive(SETTLED)
    end.take()
    return end


def client(*requests: Headers) -> End:
    end = End(Role.CLIENT)
    end.connection.receive(frame(SETTINGS, 0, 0))
    for headers in requests:
        end.connection.request(headers, end=headers == GET)
    end.take()
    return end


def fault_of(end: End, data: bytes) -> tuple[ErrorCode, str]:
    end.connection.receive(data)
    assert end.fault is not None
    return end.fault.code, end.fault.reason


# -- any bytes at all


@pytest.mark.parametrize("seed", range(10))
def test_nothing_that_arrives_raises_or_grows_without_bound(seed):
    rng = random.Random(seed)
    for _ in range(60):
        one_stream(rng)


@pytest.mark.soak
def test_nothing_at_all_that_arrives_raises_or_grows_without_bound():
    rng = random.Random(0)
    for _ in range(200_000):
        one_stream(rng)


def transcript(step: int) -> list[Event]:
    """What a server hears of one byte stream that comes in pieces of a size."""
    large = [*POST, (b"x-large", b"v" * 20_000)]
    data = SETTLED + frame(HEADERS, 4, 1, block(CONNECT))
    data += frame(DATA, 8, 1, b"\x05" + b"a" * 50 + bytes(5)) + frame(99, 0, 0, bytes(30))
    coded = block(large)
    data += frame(HEADERS, 0, 3, coded[:7000]) + frame(CONTINUATION, 0, 3, coded[7000:9000])
    data += frame(CONTINUATION, 4, 3, coded[9000:]) + frame(DATA, 0, 3, b"b" * 16_000)
    data += frame(HEADERS, 5, 3, block([(b"x-t", b"1")])) + frame(6, 0, 0, bytes(8))
    data += frame(DATA, 9, 1, b"\x00c") + frame(
        HEADERS, 0x2D, 5, b"\x02" + bytes(5) + block(GET) + b"\0\0"
    )
    end = End(Role.SERVER, Settings(header_list_limit=64 * 1024))
    for start in range(0, len(data), step):
        end.connection.receive(memoryview(data)[start : start + step])
    joined: list[Event] = []
    for event in end.events:
        if event[0] == "data" and joined and joined[-1][:2] == event[:2] and not joined[-1][3]:
            joined[-1] = (*event[:2], joined[-1][2] + event[2], event[3])
        else:
            joined.append(event)
    assert end.fault is None
    return joined


def test_where_the_bytes_are_cut_makes_no_difference():
    whole = transcript(1 << 20)
    assert [event[:2] for event in whole] == [
        ("request", 1),
        ("data", 1),
        ("request", 3),
        ("data", 3),
        ("trailers", 3),
        ("data", 1),
        ("request", 5),
    ]
    assert whole[5] == ("data", 1, b"c", True)
    for step in (1, 2, 9, 10, 11, 100, 16_393):
        assert transcript(step) == whole


# -- frames


def test_the_preface_and_settings_come_first():
    assert fault_of(End(Role.SERVER), b"GET / HTTP/1.1\r\n")[0] is ErrorCode.PROTOCOL_ERROR
    assert fault_of(End(Role.SERVER), PREFACE[:10] + b"x")[0] is ErrorCode.PROTOCOL_ERROR
    assert "not SETTINGS" in fault_of(End(Role.SERVER), PREFACE + frame(6, 0, 0, bytes(8)))[1]
    assert "not SETTINGS" in fault_of(End(Role.CLIENT), frame(SETTINGS, 1, 0))[1]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x20\x00\x00" + bytes(6), ErrorCode.FRAME_SIZE_ERROR),
        (frame(DATA, 0, 0, b"x"), ErrorCode.PROTOCOL_ERROR),
        (frame(DATA, 0, 3, b"x"), ErrorCode.PROTOCOL_ERROR),
        (frame(DATA, 8, 1, b""), ErrorCode.PROTOCOL_ERROR),
        (frame(DATA, 8, 1, b"\x01"), ErrorCode.PROTOCOL_ERROR),
        (frame(HEADERS, 4, 0, block(GET)), ErrorCode.PROTOCOL_ERROR),
        (frame(HEADERS, 4, 2, block(GET)), ErrorCode.PROTOCOL_ERROR),
        (frame(HEADERS, 0x0C, 3, b"\xff" + block(GET)), ErrorCode.PROTOCOL_ERROR),
        (frame(HEADERS, 0x24, 3, b"abc"), ErrorCode.FRAME_SIZE_ERROR),
        (frame(HEADERS, 4, 3, b"\xbe"), ErrorCode.COMPRESSION_ERROR),
        (frame(CONTINUATION, 4, 1, b""), ErrorCode.PROTOCOL_ERROR),
        (frame(HEADERS, 0, 3) + frame(CONTINUATION, 4, 5), ErrorCode.PROTOCOL_ERROR),
        (frame(HEADERS, 0, 3) + frame(DATA, 0, 1), ErrorCode.PROTOCOL_ERROR),
        (frame(HEADERS, 0, 3) + frame(99, 0, 1), ErrorCode.PROTOCOL_ERROR),
        (b"\x0f\xff\xff\x01\x04\0\0\0\3", ErrorCode.ENHANCE_YOUR_CALM),
        (b"\x00\x80\x00\x07\0\0\0\0\0", ErrorCode.ENHANCE_YOUR_CALM),
    ],
)
def test_what_ends_the_connection(data, code):
    end = server()
    end.connection.receive(frame(HEADERS, 4, 1, block(CONNECT)))
    assert fault_of(end, data)[0] is code
    assert end.events[-2:] == [("reset", 1, code), ("closed", code)]


def test_data_for_a_stream_that_both_ends_have_ended():
    end = server()
    end.connection.receive(frame(HEADERS, 5, 1, block(GET)))
    end.connection.respond(end.connection.streams[1], OK, end=True)
    assert fault_of(end, frame(DATA, 0, 1, b"x"))[0] is ErrorCode.STREAM_CLOSED


def test_after_a_fault_nothing_is_read():
    end = server()
    fault_of(end, frame(DATA, 0, 0, b"x"))
    end.take()
    end.connection.receive(frame(6, 0, 0, bytes(8)))
    assert (end.take(), end.events) == (b"", [("closed", ErrorCode.PROTOCOL_ERROR)])


def test_unknown_frames_and_flags_are_passed_over():
    end = server()
    end.connection.receive(frame(99, 0xFF, 77, bytes(100_000)) + frame(6, 0xFE, 0, bytes(8)))
    assert [f[0] for f in frames(end.take())] == [6]


# -- streams


@pytest.mark.parametrize(
    ("then", "code"),
    [
        (frame(DATA, 0, 1, b"x"), ErrorCode.STREAM_CLOSED),
        (frame(HEADERS, 5, 1, block([(b"x", b"y")])), ErrorCode.STREAM_CLOSED),
    ],
)
def test_nothing_comes_after_the_end_of_a_request(then, code):
    end = server()
    end.connection.receive(frame(HEADERS, 5, 1, block(GET)) + then)
    assert end.events[1:] == [("reset", 1, code)]
    assert frames(end.take()) == [(RST_STREAM, 0, 1, code.to_bytes(4, "big"))]
    assert end.fault is None


@pytest.mark.parametrize(
    "data",
    [
        frame(HEADERS, 4, 1, block([*POST, (b"connection", b"close")])),
        frame(HEADERS, 4, 1, block([*POST, (b"Upper", b"x")])),
        frame(HEADERS, 5, 1, block([*POST, (b"content-length", b"1")])),
        frame(HEADERS, 4, 1, block(POST)) + frame(HEADERS, 4, 1, block([(b"x", b"y")])),
        frame(HEADERS, 4, 1, block(POST)) + frame(HEADERS, 5, 1, block(OK)),
        frame(HEADERS, 4, 1, block(CONNECT)) + frame(HEADERS, 5, 1, block([(b"x", b"y")])),
    ],
)
def test_a_malformed_message_ends_its_stream_alone(data):
    end = server()
    end.connection.receive(data)
    assert frames(end.take()) == [(RST_STREAM, 0, 1, b"\0\0\0\1")]
    assert end.fault is None
    assert end.connection.open_streams == 0
    end.connection.receive(frame(HEADERS, 5, 3, block(GET)))
    assert end.events[-1] == ("request", 3, GET, True)


@pytest.mark.parametrize(
    ("parts", "sound"),
    [
        ([(b"abc", 0), (b"de", 1)], True),
        ([(b"abcde", 0), (b"", 1)], True),
        ([(b"abc", 1)], False),
        ([(b"abc", 0), (b"def", 0)], False),
        ([(b"abcde", 0), (None, 5)], True),
        ([(b"abcd", 0), (None, 5)], False),
    ],
)
def test_content_length_is_what_comes(parts, sound):
    end = server()
    end.connection.receive(frame(HEADERS, 4, 1, block([*POST, (b"content-length", b"5")])))
    for data, flags in parts:
        if data is None:
            end.connection.receive(frame(HEADERS, flags, 1, block([(b"x-t", b"1")])))
        else:
            end.connection.receive(frame(DATA, flags, 1, data))
    resets = end.seen("reset")
    assert resets == ([] if sound else [("reset", 1, ErrorCode.PROTOCOL_ERROR)])


@pytest.mark.parametrize(
    ("method", "status", "length", "content", "sound"),
    [
        (b"GET", b"200", b"3", b"abc", True),
        (b"GET", b"200", b"4", b"abc", False),
        (b"GET", b"304", b"4", b"", True),
        (b"GET", b"204", b"0", b"", True),
        (b"GET", b"204", None, b"x", False),
        (b"HEAD", b"200", b"4", b"", True),
        (b"HEAD", b"200", b"4", b"abcd", False),
        (b"CONNECT", b"200", b"4", b"abcdef", True),
        (b"CONNECT", b"503", b"4", b"abcdef", False),
    ],
)
def test_content_length_of_responses(method, status, length, content, sound):
    request = CONNECT if method == b"CONNECT" else [(b":method", method), *GET[1:]]
    end = client(request)
    fields = [(b":status", status)]
    if length is not None:
        fields.append((b"content-length", length))
    end.connection.receive(frame(HEADERS, 4, 1, block(fields)))
    end.connection.receive(frame(DATA, 1, 1, content))
    assert bool(end.seen("reset")) is not sound


def test_responses_with_1xx_come_before_the_final_one():
    end = client(POST)
    for status in (b"100", b"103", b"200"):
        end.connection.receive(frame(HEADERS, 4, 1, block([(b":status", status)])))
    assert [event[2][0][1] for event in end.seen("response")] == [b"100", b"103", b"200"]
    end = client(POST)
    end.connection.receive(frame(HEADERS, 5, 1, block([(b":status", b"100")])))
    assert end.events == [("reset", 1, ErrorCode.PROTOCOL_ERROR)]


def test_data_before_a_response():
    end = client(POST)
    end.connection.receive(frame(DATA, 0, 1, b"x"))
    assert end.events == [("reset", 1, ErrorCode.PROTOCOL_ERROR)]


def test_headers_of_refused_streams_are_decoded_all_the_same():
    end = server(Settings(max_streams=1))
    field = (b"x-kept", b"1")
    insert = literal(*field, 0x40, 6)
    end.connection.receive(frame(HEADERS, 4, 1, block(CONNECT)))
    end.connection.receive(frame(HEADERS, 4, 3, block(CONNECT) + insert))
    assert frames(end.take()) == [(RST_STREAM, 0, 3, b"\0\0\0\x07")]
    end.connection.reset(end.connection.streams[1], ErrorCode.CANCEL)
    end.connection.receive(frame(HEADERS, 4, 5, block(CONNECT) + b"\xbe"))
    assert end.events[-1] == ("request", 5, [*CONNECT, field], False)


def test_headers_of_closed_streams_are_decoded_all_the_same():
    end = server()
    field = (b"x-kept", b"1")
    end.connection.receive(frame(HEADERS, 4, 1, block(POST)))
    end.connection.reset(end.connection.streams[1], ErrorCode.CANCEL)
    end.connection.receive(frame(HEADERS, 5, 1, literal(*field, 0x40, 6)))
    end.connection.receive(frame(HEADERS, 4, 3, block(CONNECT) + b"\xbe"))
    assert end.events[-1] == ("request", 3, [*CONNECT, field], False)
    assert end.fault is None


@pytest.mark.parametrize("flags", [4, 5])
def test_a_request_that_is_too_large_gets_431(flags):
    end = server(Settings(header_list_limit=16 * 1024))
    large = [*POST, (b"cookie", b"v" * 17_000)]
    end.connection.receive(frame(HEADERS, flags, 1, block(large)))
    answer = frames(end.take())
    assert answer[0][:3] == (HEADERS, 5, 1)
    assert b"431" in answer[0][3]
    assert [f[:3] for f in answer[1:]] == ([(RST_STREAM, 0, 1)] if flags == 4 else [])
    assert (end.events, end.connection.open_streams, end.fault) == ([], 0, None)


def test_a_response_that_is_too_large_breaks_its_stream():
    end = client(POST, POST)
    end.connection.receive(frame(HEADERS, 4, 1, block([*OK, (b"x", b"v" * 17_000)])))
    assert end.events == [("reset", 1, ErrorCode.ENHANCE_YOUR_CALM)]


def test_a_memoryview_is_handed_on_without_a_copy():
    end = server()
    kinds: list[type] = []
    end.connection.state.handler.on_data = lambda stream, data, end: kinds.append(type(data))
    end.connection.receive(frame(HEADERS, 4, 1, block(CONNECT)))
    for kind in (bytes, bytearray, memoryview):
        end.connection.receive(kind(frame(DATA, 0, 1, b"abc")))
    assert kinds == [bytes, memoryview, memoryview]


def test_since_when_something_is_unfinished():
    end = End(Role.SERVER)
    receive = end.connection.receive
    receive(PREFACE + frame(SETTINGS, 0, 0))
    assert end.connection.unfinished_since is None
    start = end.clock.now
    whole = frame(HEADERS, 0, 1, b"\x82")
    receive(whole[:5])
    end.clock.now += 5
    receive(whole[5:8])
    assert end.connection.unfinished_since == start
    receive(whole[8:])
    assert end.connection.unfinished_since == start + 5
    end.clock.now += 5
    receive(frame(CONTINUATION, 0, 1))
    assert end.connection.unfinished_since == start + 5
    receive(frame(CONTINUATION, 4, 1, b"\x84\x86\x41\x01a"))
    assert end.connection.unfinished_since is None
    assert end.seen("request")
