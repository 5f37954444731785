"""Random header lists and blocks, held against the `hpack` library."""

from __future__ import annotations

import random

import hpack

from ztunnel_compat.h2.decoder import Decoder
from ztunnel_compat.h2.encoder import SECRETS, Encoder
from ztunnel_compat.h2.errors import ConnectionFault
from ztunnel_compat.h2.section import Section
from ztunnel_compat.h2.static import STATIC, Field

NAMES = [
    *sorted({name for name, _ in STATIC if name}),
    *(b"x-%d" % i for i in range(20)),
    *SECRETS,
    b"baggage",
    b"traceparent",
]


def random_field(rng: random.Random, known: list[Field]) -> Field:
    """A field that was there before, a static one, or a new one of any size."""
    kind = rng.random()
    if known and kind < 0.5:
        return rng.choice(known)
    if kind < 0.65:
        return rng.choice(STATIC[1:])
    size = rng.choice([0, 1, 5, 20, 60, 126, 127, 128, 300, 2000, 4064, 5000])
    if size > 300 and rng.random() < 0.9:
        size = 10
    value = rng.randbytes(size) if rng.random() < 0.2 else b"v%x" % rng.getrandbits(size + 1)
    name = rng.choice(NAMES) if rng.random() < 0.9 else b"n%x" % rng.getrandbits(30)
    known.append((name, value))
    del known[:-40]
    return name, value


def random_list(rng: random.Random, known: list[Field]) -> list[Field]:
    return [random_field(rng, known) for _ in range(rng.choice([0, 1, 3, 8, 12, 30]))]


def our_encoder_theirs_decoder(rng: random.Random, lists: int) -> None:
    """What we encode is what `hpack` decodes, whatever table it allows: sections that are
    new, that come back, and that come back with another path.
    """
    encoder, decoder = Encoder(), hpack.Decoder(max_header_list_size=1 << 30)
    known: list[Field] = []
    earlier: list[tuple[list[Field], Section]] = []
    for _ in range(lists):
        for _ in range(rng.choice([0, 0, 0, 0, 0, 0, 0, 1, 2])):
            limit = rng.choice([0, 30, 100, 1000, 4096, 4096, 65536])
            decoder.max_allowed_table_size = limit
            encoder.set_limit(limit)
        repeat = earlier and rng.random() < 0.4
        if repeat:
            fields, section = rng.choice(earlier)
        else:
            fields = random_list(rng, known)
            if rng.random() < 0.5:
                fields = [(b":method", b"GET"), (b":path", b"/"), *fields]
            section = Section.of(fields)
        if fields[:1] == [(b":method", b"GET")] and section.path and rng.random() < 0.5:
            path = b"/%b" % (b"x" * rng.choice([0, 1, 60, 125, 126, 127, 300, 20_000]))
            fields = [fields[0], (b":path", path), *fields[2:]]
            section = section.sibling(path)
        unique = (b"x-request-id", b"%x" % rng.getrandbits(128)) if rng.random() < 0.3 else None
        block = encoder.encode(section, unique)
        assert decoder.decode(block, raw=True) == ([*fields, unique] if unique else fields)
        assert decoder.header_table_size == encoder.limit
        assert encoder.table_size <= encoder.limit
        earlier.append((fields, section))
        del earlier[:-8]


def their_encoder_our_decoder(rng: random.Random, lists: int) -> None:
    """What `hpack` encodes is what we decode."""
    encoder, decoder = hpack.Encoder(), Decoder(1 << 30)
    known: list[Field] = []
    for _ in range(lists):
        for _ in range(rng.choice([0, 0, 0, 0, 0, 1, 2])):
            size = rng.choice([0, 30, 100, 1000, 4096, 4096])
            # Setting the same size twice makes `hpack` forget to announce it.
            if size != encoder.header_table_size:
                encoder.header_table_size = size
        fields = random_list(rng, known)
        marked = [(*field, rng.random() < 0.1) for field in fields]
        block = encoder.encode(marked, huffman=rng.random() < 0.7)
        assert decoder.decode(block) == fields
        assert decoder.list_size == sum(len(n) + len(v) + 32 for n, v in fields)
        assert decoder.table_size <= decoder.table_limit


def random_block(rng: random.Random) -> bytes:
    """Bytes that look like a block often enough to get deep into it."""
    parts = []
    for _ in range(rng.choice([1, 2, 5, 12])):
        kind = rng.random()
        if kind < 0.4:
            parts.append(bytes((0x80 | rng.choice([1, 2, 8, 61, 62, 63, 64, 70, 0, 127]),)))
        elif kind < 0.8:
            first = rng.choice([0x40, 0x00, 0x10]) | rng.choice([0, 1, 4, 15, 62 & 0xF])
            coded = rng.choice([0, 0, 0x80])
            value = rng.randbytes(rng.choice([0, 1, 4, 40]))
            name = bytes((3,)) + b"abc" if first & 0xF == 0 else b""
            parts.append(bytes((first,)) + name + bytes((coded | len(value),)) + value)
        elif kind < 0.9:
            parts.append(bytes((0x20 | rng.randrange(32),)))
        else:
            parts.append(rng.randbytes(rng.choice([1, 2, 9])))
    if rng.random() < 0.3:
        parts.insert(0, rng.choice([b"\x20", b"\x3f\xe1\x1f", b"\x20\x3f\xe1\x1f", b"\x3e"]))
    block = b"".join(parts)
    return block[: rng.randrange(len(block) + 1)] if rng.random() < 0.2 else block


def both_decoders(rng: random.Random, blocks: int) -> int:
    """Any bytes: both give the same fields, or both refuse. How many were sound.

    But for a table that is resized all the time, which `hpack` takes.
    """
    ours, theirs = Decoder(1 << 30), hpack.Decoder(max_header_list_size=1 << 30)
    sound = 0
    for _ in range(blocks):
        block = random_block(rng)
        try:
            fields: list[Field] | None = ours.decode(block)
        except ConnectionFault as fault:
            fields = None
            stricter = "table size updates" in fault.reason
        else:
            stricter = False
        try:
            expected: list[Field] | None = [(n, v) for n, v in theirs.decode(block, raw=True)]
        except hpack.HPACKError:
            expected = None
        if stricter:
            expected = None
        assert fields == expected, block.hex()
        if fields is None:
            ours, theirs = Decoder(1 << 30), hpack.Decoder(max_header_list_size=1 << 30)
        else:
            sound += 1
    return sound
