from __future__ import annotations

import hpack
import pytest

from tests.ztunnel_compat.h2.ends import CONNECT, GET, OK, POST, End, frame, frames, pair, pump
from ztunnel_compat.h2.codes import (
    CONTINUATION,
    DATA,
    GOAWAY,
    HEADERS,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCode,
)
from ztunnel_compat.h2.connection import Role, Settings, Stream
from ztunnel_compat.h2.errors import QueueFullError
from ztunnel_compat.h2.sender import BURST

KIB = 1024


def update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def setting(key: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, key.to_bytes(2, "big") + value.to_bytes(4, "big"))


def client(window: int = 65_535) -> End:
    """A client whose server has announced a window per stream."""
    end = End(Role.CLIENT)
    end.connection.receive(setting(4, window))
    end.take()
    return end


def tunnel(end: End) -> Stream:
    stream = end.connection.request(CONNECT)
    end.take()
    return stream


def sizes(data: bytes) -> list[tuple[int, int]]:
    """(stream, bytes) of the DATA frames."""
    return [(s, len(payload)) for kind, _, s, payload in frames(data) if kind == DATA]


def test_data_waits_for_the_window_of_its_stream():
    end = client(window=100)
    stream = tunnel(end)
    assert end.connection.send_data(stream, b"x" * 250) == 250
    assert sizes(end.take()) == [(1, 100)]
    assert stream.queued == 150
    end.connection.receive(update(1, 120))
    assert sizes(end.take()) == [(1, 120)]
    end.connection.receive(update(1, 120))
    assert sizes(end.take()) == [(1, 30)]
    assert stream.queued == 0


def test_the_window_of_the_connection_is_shared_in_turns():
    end = client(window=1 << 20)
    streams = [tunnel(end) for _ in range(3)]
    end.connection.send_data(streams[0], bytes(65_535))
    end.take()
    for stream in streams:
        for _ in range(6):
            end.connection.send_data(stream, bytes(16_384))
    assert end.take() == b""
    end.connection.receive(update(0, 5 * 16_384))
    assert sizes(end.take()) == [(s, 16_384) for s in (1, 3, 5, 1, 3)]
    end.connection.receive(update(0, 2 * 16_384))
    assert sizes(end.take()) == [(s, 16_384) for s in (5, 1)]


def test_a_stream_that_sends_much_does_not_hold_up_another():
    end = client(window=1 << 24)
    end.connection.receive(update(0, 1 << 24))
    bulk, small = tunnel(end), tunnel(end)
    for _ in range(20):
        end.connection.send_data(bulk, bytes(16_384))
    assert bulk.queued > 0
    assert end.connection.send_data(small, b"hello") == 5
    first = sizes(b"".join(end.connection.take_output()))
    assert sum(size for _, size in first) <= BURST + 16_384
    second = sizes(b"".join(end.connection.take_output()))
    assert (3, 5) in [*first, *second[:2]]


def test_what_is_under_way_is_bounded():
    end = client(window=1 << 24)
    end.connection.receive(update(0, 1 << 24))
    streams = [tunnel(end) for _ in range(8)]
    for stream in streams:
        for _ in range(8):
            end.connection.send_data(stream, bytes(16_384))
    total = 0
    while pieces := end.connection.take_output():
        size = sum(map(len, pieces))
        assert size <= BURST + 17 * KIB
        total += size
    assert total > 8 * 8 * 16_384


def test_a_window_that_shrinks_below_zero_and_grows_again():
    end = client(window=100)
    stream = tunnel(end)
    end.connection.send_data(stream, b"x" * 100)
    end.connection.receive(setting(4, 40))
    assert stream.window == -60
    end.connection.send_data(stream, b"y" * 50)
    end.connection.receive(update(1, 60))
    assert sizes(end.take()) == [(1, 100)]
    end.connection.receive(setting(4, 90))
    assert sizes(end.take()) == [(1, 50)]
    end.connection.receive(setting(4, 0))
    end.connection.send_data(stream, b"", end=True)
    assert frames(end.take())[-1] == (DATA, 1, 1, b"")


def test_end_and_trailers_queue_behind_data():
    end = client(window=10)
    one, other = tunnel(end), end.connection.request(POST)
    end.take()
    end.connection.send_data(one, b"x" * 20, end=True)
    end.connection.send_data(other, b"y" * 20)
    end.connection.send_trailers(other, [(b"x-t", b"1")])
    assert [f[:3] for f in frames(end.take())] == [(DATA, 0, 1), (DATA, 0, 3)]
    assert not one.local_closed
    end.connection.receive(update(1, 10) + update(3, 10))
    assert [f[:3] for f in frames(end.take())] == [(DATA, 1, 1), (DATA, 0, 3), (HEADERS, 5, 3)]
    assert (one.local_closed, other.local_closed) == (True, True)


def test_headers_are_encoded_in_the_order_in_which_they_are_sent():
    """Trailers that wait are encoded behind a response that overtakes them."""
    c, s = pair()
    for headers in (POST, POST):
        c.connection.request(headers, end=True)
    pump(c, s)
    first, second = s.connection.streams[1], s.connection.streams[3]
    field = (b"x-same", b"value")
    s.connection.respond(first, [*OK, field])
    s.connection.state.sender.window = 0
    s.connection.send_data(first, b"data")
    s.connection.send_trailers(first, [field])
    s.connection.respond(second, [*OK, field], end=True)
    s.connection.receive(update(0, 100))
    pump(c, s)
    assert c.seen("response", "trailers") == [
        ("response", 1, [*OK, field], False),
        ("response", 3, [*OK, field], True),
        ("trailers", 1, [field]),
    ]


def test_marks_of_the_queue():
    end = client(window=0)
    stream = tunnel(end)
    assert end.connection.send_data(stream, bytes(100 * KIB)) == 100 * KIB
    assert end.connection.send_data(stream, bytes(100 * KIB)) == 200 * KIB
    assert end.connection.send_data(stream, bytes(100 * KIB)) == 300 * KIB
    with pytest.raises(QueueFullError, match="stream 1 has 307200 bytes queued, the bound is"):
        end.connection.send_data(stream, b"x")
    end.connection.receive(update(0, 1 << 20))
    end.connection.receive(update(1, 200 * KIB))
    end.take()
    assert end.seen("writable") == []
    end.connection.receive(update(1, 80 * KIB))
    end.take()
    end.connection.receive(update(1, 1000))
    end.take()
    assert end.seen("writable") == [("writable", 1)]


def test_a_stream_below_its_high_mark_hears_nothing():
    end = client(window=0)
    stream = tunnel(end)
    end.connection.send_data(stream, bytes(100 * KIB))
    end.connection.receive(update(0, 1 << 20) + update(1, 1 << 20))
    end.take()
    assert stream.queued == 0
    assert end.seen("writable") == []


def test_small_pieces_are_joined_while_they_wait():
    end = client(window=0)
    stream = tunnel(end)
    for i in range(10_000):
        end.connection.send_data(stream, b"%d" % (i % 10))
    assert stream.pieces is not None
    assert len(stream.pieces) == 3
    end.connection.receive(update(1, 20_000))
    assert len(sizes(end.take())) == 3


def test_frames_keep_to_the_peers_limit():
    end = client(window=1 << 20)
    stream = tunnel(end)
    end.connection.receive(update(0, 1 << 20))
    end.connection.send_data(stream, bytes(100_000))
    assert {size for _, size in sizes(end.take())} == {16_384, 100_000 % 16_384}
    end.connection.receive(setting(5, 50_000))
    end.connection.send_data(stream, bytes(50_000))
    assert sizes(end.take()) == [(1, 50_000)]
    headers = [*GET, (b"x-large", b"v" * 60_000)]
    end.connection.request(headers)
    first, second = frames(end.take())
    assert (first[:3], len(first[3])) == ((HEADERS, 0, 3), 50_000)
    assert second[:3] == (CONTINUATION, 4, 3)
    assert hpack.Decoder().decode(first[3] + second[3], raw=True) == headers


def test_a_reset_drops_what_is_queued():
    end = client(window=0)
    stream = tunnel(end)
    end.connection.send_data(stream, bytes(1000))
    end.connection.reset(stream, ErrorCode.CANCEL)
    end.connection.receive(update(1, 1000) + update(0, 1000))
    assert frames(end.take()) == [(RST_STREAM, 0, 1, b"\0\0\0\x08")]
    assert end.connection.send_data(stream, b"x") == 0
    assert end.take() == b""


@pytest.mark.parametrize("stream", [0, 1])
def test_a_window_beyond_its_maximum(stream):
    end = client(window=2**31 - 1)
    tunnel(end)
    end.connection.receive(update(stream, 2**31 - 1))
    kind = GOAWAY if stream == 0 else RST_STREAM
    assert frames(end.take())[-1][0] == kind


def test_a_setting_that_takes_a_window_beyond_its_maximum():
    end = client(window=100)
    tunnel(end)
    end.connection.receive(update(1, 2**31 - 1 - 100) + setting(4, 101))
    assert end.fault is not None
    assert end.fault.code is ErrorCode.FLOW_CONTROL_ERROR


def test_settings_of_the_owner_set_the_marks():
    small = Settings(queue_low=1, queue_high=2, queue_bound=3)
    end = End(Role.CLIENT, small)
    end.connection.receive(setting(4, 0))
    stream = tunnel(end)
    end.connection.send_data(stream, b"abc")
    with pytest.raises(QueueFullError):
        end.connection.send_data(stream, b"d")
