from __future__ import annotations

import random

import pytest

from tandem.host.frames import SIZES, FrameError, FrameReader, encode


def test_frames_come_back_however_they_are_cut() -> None:
    drawn = random.Random(7)
    frames = [({"n": n, "t": "é" * n}, bytes(n * 7)) for n in range(40)]
    data = b"".join(encode(*frame) for frame in frames)
    for _ in range(20):
        reader = FrameReader()
        found = []
        at = 0
        while at < len(data):
            size = drawn.randrange(1, 400)
            found += list(reader.feed(data[at : at + size]))
            at += size
        assert found == frames
        assert not reader.buffer


@pytest.mark.parametrize(
    "data",
    [
        SIZES.pack(2**31, 0),
        SIZES.pack(0, 1001),
        SIZES.pack(1, 0) + b"x",
        SIZES.pack(2, 0) + b"[]",
        SIZES.pack(900, 0) + b"[" * 900,
        SIZES.pack(2, 0) + b"\xff\xff",
    ],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        list(FrameReader(1000).feed(data))


def test_whatever_comes_is_a_frame_or_refused() -> None:
    drawn = random.Random(11)
    for _ in range(2000):
        reader = FrameReader(4096)
        data = bytearray(encode({"id": 1, "headers": [["a", "b"]]}, b"body"))
        for _ in range(drawn.randrange(1, 4)):
            data[drawn.randrange(len(data))] = drawn.randrange(256)
        try:
            for said, _content in reader.feed(bytes(data)):
                assert isinstance(said, dict)
        except FrameError:
            pass
        assert len(reader.buffer) <= len(data)
