from __future__ import annotations

import random

import hpack
import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from tests.ztunnel_compat.h2.ends import CONNECT, GET
from ztunnel_compat.h2.codes import Role
from ztunnel_compat.h2.errors import ConnectionFault, OversizeFault, StreamFault
from ztunnel_compat.h2.literals import literal, write_integer
from ztunnel_compat.h2.memo import FAMILY_COST, MEMO_LIMIT, HeadReader
from ztunnel_compat.h2.settings import CLIENT, Settings


def plain(fields):
    return b"".join(literal(name, value, 0, 4) for name, value in fields)


def inserting(fields):
    return b"".join(literal(name, value, 0x40, 6) for name, value in fields)


@pytest.fixture
def reader():
    return HeadReader(Role.SERVER, Settings())


def test_a_block_is_remembered_at_its_second_sighting(reader):
    first, second, third, fourth = (reader.read_head(plain(GET)) for _ in range(4))
    assert first is not second
    assert second is third is fourth
    assert third.fields == GET


def test_what_an_owner_noted_comes_back_until_it_is_forgotten(reader):
    for _ in range(2):
        head = reader.read_head(plain(GET))
    head.fields.note = "route"
    assert reader.read_head(plain(GET)).fields.note == "route"
    reader.forget()
    assert reader.read_head(plain(GET)).fields.note is None


def test_a_block_means_something_else_once_the_table_has_changed(reader):
    field = (b"x-a", b"1")
    reader.read_head(plain(GET) + inserting([field]))
    indexed = plain(GET) + b"\xbe"
    for _ in range(3):
        assert reader.read_head(indexed).fields[-1] == field
    other = (b"x-b", b"2")
    reader.skip(inserting([other]))
    assert reader.read_head(indexed).fields[-1] == other


@pytest.mark.parametrize("change", [b"\x20", b"\x3f\xe1\x1f"])
def test_a_resize_clears_the_memo_evictions_or_not(reader, change):
    for _ in range(3):
        reader.read_head(plain(GET))
    assert reader.heads
    reader.skip(change)
    assert not reader.heads


def test_a_block_that_changes_the_table_is_never_stored(reader):
    for _ in range(4):
        reader.read_head(inserting([*GET, (b"x-a", b"1")]))
        reader.read_head(b"\x3f\xe1\x1f" + plain(GET))
    assert not reader.heads


def test_heads_and_trailers_share_no_key(reader):
    block = plain([(b"x", b"y")])
    for _ in range(3):
        reader.read_trailers(block)
        with pytest.raises(StreamFault):
            reader.read_head(block)
    for _ in range(3):
        reader.read_head(plain(GET))
    with pytest.raises(StreamFault):
        reader.read_trailers(plain(GET))


def test_malformed_and_oversized_sections_are_not_stored(reader):
    large = plain([*CONNECT, (b"x", b"y" * 17_000)])
    for _ in range(3):
        with pytest.raises(OversizeFault, match="more than 16384"):
            reader.read_head(large)
        with pytest.raises(StreamFault):
            reader.read_head(plain([*GET, (b"Upper", b"")]))
    assert not reader.heads


def test_a_bomb_of_indices_is_oversized(reader):
    reader.skip(inserting([(b"x", b"y" * 3000)]))
    with pytest.raises(OversizeFault):
        reader.read_head(b"\xbe" * 8)


def test_the_memo_is_bounded(reader):
    for i in range(2000):
        block = plain([*GET, (b"x-%d" % i, b"v" * 1000)])
        for _ in range(2):
            reader.read_head(block)
    assert 0 < reader.size <= MEMO_LIMIT
    assert sum(map(len, reader.heads)) <= MEMO_LIMIT
    assert len(reader.seen) <= 1024


def named(name: int, value: bytes, *, indexed: bool = True) -> bytes:
    """A literal field with a static name, as nginx writes it."""
    first = bytes([0x40 | name]) if indexed else b"\x0f" + bytes([name - 15])
    return first + bytes([len(value)]) + value


SERVER_54, DATE_33, TYPE_31, OK_200 = 54, 33, 31, b"\x88"


def test_what_a_block_inserts_is_inserted_again_when_it_is_remembered() -> None:
    """Beside hpack, which remembers nothing: blocks that come back, in any order."""
    for seed in range(40):
        draw = random.Random(seed)
        values = [draw.randbytes(draw.choice([0, 3, 40, 100])).hex().encode() for _ in range(6)]
        blocks = [
            OK_200
            + named(SERVER_54, draw.choice(values)[:120])
            + named(DATE_33, draw.choice(values)[:120], indexed=draw.random() < 0.7)
            + named(TYPE_31, draw.choice(values)[:120])
            for _ in range(5)
        ]
        # Indices into the table, which must mean what they mean to hpack.
        blocks += [OK_200 + bytes([0x80 | index]) for index in (62, 63, 70)]
        blocks += [size + blocks[0] for size in (b"\x20", b"\x3f\xe1\x1f")]
        reader, theirs = HeadReader(Role.CLIENT, CLIENT), hpack.Decoder()
        for _ in range(200):
            block = draw.choice(blocks)
            try:
                expected = [
                    (bytes(name), bytes(value))
                    for name, value in theirs.decode(block, raw=True)
                ]
            except hpack.HPACKError:
                break
            assert list(reader.read_head(block).fields) == expected
        entries = [field for field, _ in reversed(reader.decoder.entries)]
        assert entries == list(theirs.header_table.dynamic_entries)


def test_forgetting_drops_what_inserts_too() -> None:
    reader = HeadReader(Role.CLIENT, CLIENT)
    block = OK_200 + named(SERVER_54, b"nginx")
    heads = [reader.read_head(block) for _ in range(4)]
    assert heads[1] is heads[2] is heads[3]
    reader.forget()
    assert reader.read_head(block) is not heads[3]
    assert len(reader.decoder.entries) == 5


HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
TABLE = [(b":authority", b"web"), (b"x-a", b"1")]


def asked(path: bytes, *, coded: bool = False, never: bool = False) -> bytes:
    """A request's block as nghttp2 writes it: indices, and a path that isn't indexed."""
    value = HUFFMAN.encode(path) if coded else path
    length = write_integer(len(value), 0x80 if coded else 0, 7)
    return b"\x82" + (b"\x14" if never else b"\x04") + length + value + b"\x86\xbf\xbe"


def test_requests_that_differ_in_their_path_alone_are_a_family(reader):
    reader.skip(inserting(TABLE))
    first, second, third = (reader.read_head(asked(path)) for path in (b"/a", b"/b", b"/c?d"))
    assert first.fields.family is None
    assert second.fields.family is None
    assert third.fields == [
        (b":method", b"GET"), (b":path", b"/c?d"), (b":scheme", b"http"), *TABLE,
    ]  # fmt: skip
    third.fields.family.note = "route"
    assert reader.read_head(asked(b"/e")).fields.family.note == "route"
    reader.forget()
    assert reader.read_head(asked(b"/f")).fields.family is None


def test_a_sibling_that_comes_back_is_found_by_its_block(reader):
    reader.skip(inserting(TABLE))
    heads = [reader.read_head(asked(path)) for path in (b"/a", b"/b", b"/c", b"/c", b"/c")]
    assert heads[2] is not heads[3]
    assert heads[3] is heads[4]


def test_a_family_ends_with_the_table_that_it_was_read_by(reader):
    reader.skip(inserting(TABLE))
    for path in (b"/a", b"/b", b"/c"):
        reader.read_head(asked(path))
    assert reader.families
    reader.skip(inserting([(b"x-b", b"2")]))
    with pytest.raises(StreamFault, match="neither :authority nor host"):
        reader.read_head(asked(b"/d"))


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (b"", "without :scheme or :path"),
        (b"a", ":path"),
        (b"/a\nb", "control character"),
        (b"/ ", "white space"),
    ],
)
def test_a_siblings_path_is_checked_as_any(reader, path, error):
    reader.skip(inserting(TABLE))
    for good in (b"/a", b"/b", b"/c"):
        reader.read_head(asked(good))
    for coded in (False, True):
        with pytest.raises(StreamFault, match=error):
            reader.read_head(asked(path, coded=coded))


def test_a_sibling_that_is_too_large_is_refused(reader):
    reader.skip(inserting(TABLE))
    for good in (b"/a", b"/b", b"/c"):
        reader.read_head(asked(good))
    room = reader.decoder.limit - next(iter(reader.families.values())).size
    assert reader.read_head(asked(b"/" * room)).fields.family is not None
    with pytest.raises(OversizeFault):
        reader.read_head(asked(b"/" * (room + 1)))


def test_there_are_so_many_families(reader):
    for number in range(500):
        rest = plain([(b"x-%d" % number, b"1")])
        for path in (b"/a", b"/b", b"/c"):
            block = b"\x82\x04" + bytes([len(path)]) + path + b"\x86" + plain(TABLE[:1]) + rest
            reader.read_head(block)
    assert 0 < len(reader.families) <= MEMO_LIMIT // FAMILY_COST
    assert reader.size <= MEMO_LIMIT


def test_families_say_what_a_reader_without_memory_says() -> None:
    """Blocks of all kinds, cut, mended and mixed, beside a new reader for each."""
    found_families = 0
    for seed in range(60):
        draw = random.Random(seed)
        reader = HeadReader(Role.SERVER, Settings())
        reader.skip(inserting(TABLE))
        for _ in range(120):
            path = b"/" + draw.randbytes(draw.choice([0, 2, 70, 130])).hex().encode()
            if draw.random() < 0.1:
                path = draw.choice([b"", b"*", b"/\x80", b"/#", b"/ a", b"/a\x00", b"//"])
            block = asked(path, coded=draw.random() < 0.5, never=draw.random() < 0.2)
            if draw.random() < 0.1:
                block = block[: draw.randrange(len(block))]
            if draw.random() < 0.1:
                place = draw.randrange(len(block) + 1)
                block = block[:place] + draw.randbytes(1) + block[place:]
            fresh = HeadReader(Role.SERVER, Settings())
            fresh.decoder.entries = reader.decoder.entries.copy()
            fresh.decoder.table_size = reader.decoder.table_size
            fresh.decoder.table_limit = reader.decoder.table_limit
            found_families += len(reader.families)
            expected, found = outcome(fresh, block), outcome(reader, block)
            assert found == expected, (seed, block)
            if found[0] == "ConnectionFault":
                break
    assert found_families > 100


def outcome(reader: HeadReader, block: bytes) -> tuple[object, ...]:
    """What reading a block comes to."""
    try:
        head = reader.read_head(block)
    except (ConnectionFault, StreamFault, OversizeFault) as fault:
        return type(fault).__name__, str(fault)
    return list(head.fields), head.length, head.method, head.tunnel
