"""Rings: the kernel's by way of real events, the walk by way of made-up memory."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bpf.layout import Counter, Event, EventClass
from bpf.ringbuf import BUSY, DISCARDED, MemoryRing, walk
from tests.bpf.engine import SMALL, Engine, engine
from tests.support.netns import Netns

RECORD = (Event.SIZE + 8 + 7) & ~7
SIZE = 64


@pytest.fixture
def small(client: Netns) -> Iterator[Engine]:
    """An engine with a ring of one page, whose client connects to nowhere."""
    with engine("ring", replace(SMALL, events=4096)) as mesh:
        mesh.maps.limits.allow(EventClass.FAILED, 1 << 20)
        mesh.enroll(client)
        yield mesh


def fail(client: Netns, port: int) -> None:
    """A connect that is refused: one event."""
    with client.open_socket() as s, pytest.raises(ConnectionRefusedError):
        s.connect((client.v4, port))


def ports(records: list[bytes]) -> list[int]:
    return [Event.unpack(record).destination_port for record in records]


def test_records_come_in_order_and_whole_around_the_end(small: Engine, client: Netns) -> None:
    """A page isn't a multiple of a record: some lie across its end."""
    assert 4096 % RECORD
    for round_ in range(10):
        sent = [1000 + round_ * 20 + number for number in range(20)]
        for port in sent:
            fail(client, port)
        assert ports(small.maps.events.read(100)) == sent
    assert small.maps.events.read(100) == []


def test_no_more_are_read_than_asked_for(small: Engine, client: Netns) -> None:
    for port in range(2000, 2010):
        fail(client, port)
    assert ports(small.maps.events.read(3)) == [2000, 2001, 2002]
    assert small.maps.events.skip(4) == 4
    assert ports(small.maps.events.read(100)) == [2007, 2008, 2009]
    assert small.maps.events.skip(4) == 0


def test_what_finds_no_room_is_counted(small: Engine, client: Netns) -> None:
    room = 4096 // RECORD
    with small.counts() as counts:
        for number in range(room + 7):
            fail(client, 3000 + number)
    kept = ports(small.maps.events.read(100))
    lost = counts[Counter.EVENT_LOST]
    assert len(kept) + lost == room + 7
    assert kept == [3000 + number for number in range(len(kept))]
    fail(client, 4000)
    assert ports(small.maps.events.read(100)) == [4000]


def memory(*lengths: int) -> tuple[bytes, int]:
    """A ring of records, each 8 bytes of its number; and where they end."""
    data = b"".join(
        struct.pack("=I4xQ", length, number) for number, length in enumerate(lengths)
    )
    end = len(data)
    data = data.ljust(SIZE, b"\0")
    return data + data, end


def walked(data: bytes, consumer: int, end: int, most: int = 9) -> tuple[int, int, list[int]]:
    taken: list[int] = []

    def take(offset: int, length: int) -> None:
        assert length == 8
        taken.append(struct.unpack_from("=Q", data, offset)[0])

    after, found = walk(data, SIZE, (consumer, end), most, take)
    return after, found, taken


def test_a_record_that_is_being_written_stops_the_walk() -> None:
    data, end = memory(8, 8 | BUSY, 8)
    assert walked(data, 0, end) == (16, 1, [0])


def test_a_record_that_was_given_up_is_stepped_over() -> None:
    data, end = memory(8 | DISCARDED, 8, 8 | DISCARDED)
    assert walked(data, 0, end) == (48, 1, [1])


def test_positions_grow_for_ever() -> None:
    data, _end = memory(8, 8, 8, 8)
    start = 5 * SIZE + 48
    assert walked(data, start, start + 32) == (start + 32, 2, [3, 0])
    assert walked(data, start, start + 32, most=1) == (start + 16, 1, [3])
    assert walked(data, start, start) == (start, 0, [])


def test_memory_behaves_the_same() -> None:
    ring = MemoryRing([b"a", b"b", b"c"])
    assert ring.read(1) == [b"a"]
    assert ring.skip(1) == 1
    assert ring.read(5) == [b"c"]
    assert ring.skip(5) == 0
