from __future__ import annotations

from hyperframe import frame as hyperframe

from ztunnel_compat.h2 import frames


def parsed(data: bytes) -> hyperframe.Frame:
    found, length = hyperframe.Frame.parse_frame_header(memoryview(data[:9]))
    found.parse_body(memoryview(data[9 : 9 + length]))
    assert len(data) == 9 + length
    return found


def test_frames_are_hyperframes():
    assert parsed(frames.ping(b"12345678", ack=True)).serialize() == frames.ping(
        b"12345678", ack=True
    )
    goaway = parsed(frames.goaway(7, 11, b"why"))
    assert (goaway.last_stream_id, goaway.error_code, goaway.additional_data) == (7, 11, b"why")
    assert parsed(frames.rst_stream(5, 8)).error_code == 8
    assert parsed(frames.window_update(3, 1000)).window_increment == 1000
    assert parsed(frames.settings({4: 70_000, 5: 16_384})).settings == {4: 70_000, 5: 16_384}
    assert parsed(frames.SETTINGS_ACK).flags == {"ACK"}


def test_a_block_beyond_the_limit_goes_on_in_continuation_frames():
    for size in (0, 1, 99, 100, 101, 200, 201, 1000):
        block = bytes(i % 251 for i in range(size))
        rest = frames.header_frames(1, block, 100, end=True)
        joined = b""
        flags = []
        while rest:
            length = int.from_bytes(rest[:3], "big")
            found = parsed(rest[: 9 + length])
            joined += found.data
            flags.append(set(found.flags))
            rest = rest[9 + length :]
        assert joined == block
        assert "END_STREAM" in flags[0]
        assert [("END_HEADERS" in each) for each in flags] == [False] * (len(flags) - 1) + [
            True
        ]
        assert len(flags) == max(1, -(-size // 100))
