"""Byte streams no sound peer would send; what must hold whatever arrives."""

from __future__ import annotations

import random

from tests.ztunnel_compat.h2.ends import CONNECT, GET, OK, POST, End, Event, frame
from ztunnel_compat.h2.codes import DEFAULT_TABLE, PREFACE
from ztunnel_compat.h2.connection import Headers, Role, Settings
from ztunnel_compat.h2.encoder import Encoder
from ztunnel_compat.h2.limits import MAX_CAUSED
from ztunnel_compat.h2.memo import MEMO_LIMIT
from ztunnel_compat.h2.section import Section

SMALL = Settings(
    stream_window=65_535, connection_window=70_000, max_frame=16_384, max_streams=8
)
HEADS: list[Headers] = [
    CONNECT,
    GET,
    POST,
    OK,
    [(b":status", b"103")],
    [(b":status", b"204"), (b"content-length", b"0")],
    [*POST, (b"content-length", b"5"), (b"cookie", b"a=b")],
    [*GET, (b"x-large", b"z" * 20_000)],
    [*GET, (b"Upper", b"x")],
    [*GET, (b"te", b"trailers"), (b"user-agent", b"fuzz"), (b"accept", b"*/*")],
    [(b":protocol", b"websocket"), *GET],
    [(b"grpc-status", b"0")],
]


def sound_frames(rng: random.Random, role: Role) -> list[bytes]:
    """Frames that a peer might send, mostly in an order that makes sense."""
    encoder = Encoder()
    found = [frame(4, 0, 0, random_settings(rng))]
    used = 1 if role is Role.SERVER else 7
    for _ in range(rng.randrange(1, 12)):
        kind = rng.random()
        if kind < 0.2 and role is Role.SERVER:
            used += 2
        stream = rng.randrange(1, used + 1, 2) if rng.random() < 0.97 else rng.randrange(14)
        if kind < 0.2:
            stream = used
        if kind < 0.4:
            block = encoder.encode(
                Section.of(rng.choice(HEADS if role is Role.SERVER else HEADS[3:6]))
            )
            flags = rng.choice([4, 5, 4, 0x24, 0x0C, 0])
            if flags & 0x20:
                block = rng.randbytes(5) + block
            if flags & 0x08:
                block = b"\x03" + block + b"\0\0\0"
            cut = rng.randrange(len(block) + 1) if flags == 0 else len(block)
            found.append(frame(1, flags, stream, block[:cut]))
            if flags == 0:
                found.append(frame(9, 4, stream, block[cut:]))
        elif kind < 0.7:
            data = rng.randbytes(rng.choice([0, 1, 5, 300, 16_384]))
            flags = rng.choice([0, 0, 1, 8, 9])
            if flags & 8:
                data = b"\x02" + data[:16_000] + b"\0\0"
            found.append(frame(0, flags, stream, data))
        elif kind < 0.75:
            found.append(frame(3, 0, stream, rng.randbytes(4)))
        elif kind < 0.82:
            increment = rng.choice([0, 1, 70_000, 2**31 - 1])
            found.append(frame(8, 0, rng.choice([0, stream]), increment.to_bytes(4, "big")))
        elif kind < 0.87:
            found.append(frame(6, rng.choice([0, 1]), 0, rng.randbytes(8)))
        elif kind < 0.92:
            found.append(frame(4, rng.choice([0, 0, 1]), 0, random_settings(rng)))
        elif kind < 0.94:
            found.append(frame(7, 0, 0, rng.randbytes(rng.choice([8, 8, 20]))))
        else:
            payload = rng.randbytes(rng.choice([0, 4, 5, 8, 60]))
            found.append(frame(rng.randrange(256), rng.randrange(256), stream, payload))
    return found


def random_settings(rng: random.Random) -> bytes:
    entries = b""
    for _ in range(rng.randrange(4)):
        if rng.random() < 0.8:
            key, value = rng.choice(
                [(1, 0), (1, 100), (3, 1), (4, 0), (4, 70_000), (5, 20_000)]
            )
            entries += key.to_bytes(2, "big") + value.to_bytes(4, "big")
            continue
        key = rng.choice([1, 2, 3, 4, 5, 6, 8, 99])
        value = rng.choice([0, 1, 100, 16_384, 65_535, 2**24 - 1, 2**31 - 1, 2**32 - 1])
        entries += key.to_bytes(2, "big") + value.to_bytes(4, "big")
    return entries


def random_bytes(rng: random.Random, role: Role) -> bytes:
    """A sound stream with something wrong in it, or noise."""
    preface = PREFACE if role is Role.SERVER else b""
    kind = rng.random()
    if kind < 0.05:
        return rng.choice([b"", preface]) + rng.randbytes(rng.randrange(200))
    found = sound_frames(rng, role)
    if kind < 0.3:
        rng.shuffle(found)
    elif kind < 0.5:
        found += rng.choices(found, k=rng.randrange(1, 5))
    elif kind < 0.6:
        found += [rng.choice(found)] * rng.choice([100, 400, 2500])
    data = bytearray(preface + b"".join(found))
    if kind > 0.75:
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    if rng.random() < 0.1:
        del data[rng.randrange(len(data)) :]
    return bytes(data)


class Watch(End):
    """An end that insists on the order of what it is told."""

    def __init__(self, rng: random.Random, role: Role) -> None:
        #: Streams that are open, and those whose peer's side has ended.
        self.open: set[int] = set()
        self.ended: set[int] = set()
        super().__init__(role, SMALL, self.watch)
        self.consume = rng.random() < 0.5
        self.answer = rng.random() < 0.5
        if role is Role.CLIENT:
            for _ in range(4):
                stream = self.connection.request(rng.choice([CONNECT, GET, POST]))
                self.open.add(stream.id)

    def watch(self, _: End, event: Event) -> None:
        kind, stream, *rest = event
        if kind == "request":
            assert stream not in self.open
            self.open.add(stream)
            if self.answer:
                self.connection.respond(self.connection.streams[stream], OK)
        if kind in {"request", "response", "data", "trailers", "reset"}:
            assert stream in self.open, event
        if kind in {"response", "data", "trailers"}:
            assert stream not in self.ended, event
        if kind == "trailers" or (kind in {"request", "response", "data"} and rest[1]):
            self.ended.add(stream)
        if kind == "reset":
            self.open.discard(stream)
        if kind == "data" and self.answer and stream in self.connection.streams:
            ours = self.connection.streams[stream]
            if ours.queued < 100_000 and not ours.ending and ours.head_sent:
                self.connection.send_data(ours, rest[0], end=rest[1])

    def check(self) -> None:
        state = self.connection.state
        receiver = self.connection.receiver
        table = state.table
        assert len(table.streams) <= SMALL.max_streams
        assert state.inflow.held == sum(s.held for s in table.streams.values())
        assert state.inflow.held <= SMALL.connection_window + SMALL.held_limit
        assert len(receiver.carry) <= 2 * SMALL.header_list_limit + 9
        blocks = receiver.blocks
        assert blocks.block is None or len(blocks.block) <= blocks.limit
        assert state.reader.decoder.table_size <= DEFAULT_TABLE
        assert state.reader.size <= MEMO_LIMIT
        assert state.output.caused <= MAX_CAUSED + 100
        if not self.answer:
            assert sum(map(len, state.output.pieces)) <= MAX_CAUSED + 1000
        if state.closed:
            assert not table.streams
            assert self.events[-1][0] == "closed"


def one_stream(rng: random.Random) -> Watch:
    """Feed one byte stream, cut anywhere; everything that must hold is checked."""
    role = rng.choice(list(Role))
    data = random_bytes(rng, role)
    end = Watch(rng, role)
    step = rng.choice([len(data) + 1, 1000, 50, 1]) if len(data) < 2000 else len(data) // 3 + 1
    for start in range(0, len(data), step):
        kind = rng.choice([bytes, bytearray, memoryview])
        end.connection.receive(kind(data[start : start + step]))
        if rng.random() < 0.3:
            end.check()
            end.take()
    end.check()
    end.connection.lost()
    end.check()
    return end
