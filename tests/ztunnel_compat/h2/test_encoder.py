from __future__ import annotations

import random

import hpack
import pytest

from tests.ztunnel_compat.h2.fuzz_hpack import our_encoder_theirs_decoder
from ztunnel_compat.h2.encoder import Encoder
from ztunnel_compat.h2.section import MOST_CODED, Section

FIELD = (b"x-a", b"1")
OTHER = (b"x-b", b"2")


def theirs() -> hpack.Decoder:
    return hpack.Decoder()


@pytest.mark.parametrize("seed", range(10))
def test_hpack_decodes_what_we_encode(seed):
    our_encoder_theirs_decoder(random.Random(seed), 50)


@pytest.mark.soak
def test_hpack_decodes_all_that_we_encode():
    for seed in range(4000):
        our_encoder_theirs_decoder(random.Random(seed), 50)


def test_a_field_is_indexed_when_it_is_seen_again():
    encoder = Encoder()
    first, second, third = (encoder.encode(Section.of([FIELD])) for _ in range(3))
    assert (first[0], second[0], third) == (0x00, 0x40, b"\xbe")


def test_an_insert_moves_every_index_so_that_no_memo_outlives_it():
    encoder, decoder = Encoder(), theirs()
    for fields in (
        [FIELD],
        [FIELD],
        [FIELD],
        [FIELD],
        [OTHER],
        [OTHER],
        [FIELD],
        [FIELD, OTHER],
    ):
        assert decoder.decode(encoder.encode(Section.of(fields)), raw=True) == fields
    assert encoder.encode(Section.of([FIELD])) == b"\xbf"


def test_what_inserts_or_announces_is_not_remembered():
    encoder, section = Encoder(), Section.of([FIELD])
    encoder.encode(section)
    encoder.encode(section)
    assert encoder.encode(section) == b"\xbe"
    encoder.set_limit(100)
    assert encoder.encode(section)[:2] == b"\x3f\x45"
    encoder.set_limit(0)
    encoder.set_limit(200)
    assert encoder.encode(section)[:1] == b"\x20"


def test_a_section_remembers_its_code_until_the_table_changes():
    encoder, section = Encoder(), Section.of([FIELD, OTHER])
    for _ in range(5):
        block = encoder.encode(section)
    assert section.around.coded[encoder.epoch] == (block, b"")
    assert encoder.encode(section) == block
    for _ in range(2):
        encoder.encode(Section.of([(b"x-c", b"3")]))
    assert encoder.epoch not in section.around.coded
    assert encoder.encode(section) == b"\xc0\xbf"


def test_a_section_keeps_a_code_for_each_connection_up_to_a_bound():
    section = Section.of([FIELD])
    encoders = [Encoder() for _ in range(MOST_CODED + 5)]
    blocks = [[encoder.encode(section) for _ in range(3)] for encoder in encoders]
    assert all(each == blocks[0] for each in blocks)
    assert len(section.around.coded) <= MOST_CODED


def test_siblings_share_what_is_around_their_paths():
    encoder, decoder = Encoder(), theirs()
    fields = [(b":method", b"GET"), (b":path", b"/a"), (b":scheme", b"http"), FIELD]
    section = Section.of(fields)
    for path in (b"/a", b"/b", b"/" + b"c" * 200, b"/d"):
        expected = [fields[0], (b":path", path), *fields[2:]]
        block = encoder.encode(section.sibling(path))
        assert decoder.decode(block, raw=True) == expected
    assert encoder.epoch in section.around.coded
    assert all(name != b":path" for name, _ in encoder.known)


@pytest.mark.parametrize("name", [b"authorization", b"cookie", b"set-cookie"])
def test_secrets_are_never_indexed_nor_remembered_by_the_connection(name):
    encoder, decoder = Encoder(), theirs()
    for _ in range(5):
        block = encoder.encode(Section.of([FIELD, (name, b"secret")]))
        fields = decoder.decode(block, raw=True)
        assert [field.indexable for field in fields] == [True, False]
    assert all(field[0] != name for field in [*encoder.known, *encoder.index])


def test_a_limit_lowered_and_raised_between_blocks_is_announced_with_both():
    encoder = Encoder()
    encoder.encode(Section.of([FIELD]))
    encoder.encode(Section.of([FIELD]))
    encoder.set_limit(0)
    encoder.set_limit(65_536)
    assert encoder.encode(Section.of([]))[:1] == b"\x20"
    assert encoder.encode(Section.of([FIELD]))[0] == 0x40
    encoder.set_limit(100)
    assert encoder.encode(Section.of([])) == b"\x3f\x45"
    assert encoder.encode(Section.of([])) == b""


def test_a_full_table_stays_as_it_is():
    encoder, decoder = Encoder(), theirs()
    fields = [[(b"x-%d" % i, b"v" * 400)] for i in range(20)]
    for _ in range(3):
        for each in fields:
            assert decoder.decode(encoder.encode(Section.of(each)), raw=True) == each
    assert len(encoder.entries) == encoder.inserted == 9


def test_memos_are_bounded():
    encoder = Encoder()
    for i in range(20_000):
        fields = [(b"x-%d" % i, b"v" * 100)]
        for _ in range(3):
            encoder.encode(Section.of(fields))
    assert encoder.memo_size <= 128 * 1024 + 200
    assert len(encoder.seen) <= 1024


def test_a_unique_field_leaves_what_is_known_alone() -> None:
    encoder, decoder = Encoder(), hpack.Decoder()
    fields = [(b":method", b"GET"), (b"x-a", b"1")]
    blocks = []
    for number in range(6):
        unique = (b"x-request-id", b"%d" % number)
        blocks.append(encoder.encode(Section.of(fields), unique))
        assert decoder.decode(blocks[-1], raw=True) == [*fields, unique]
    assert blocks[-1][:-1] == blocks[-2][:-1]
    assert encoder.inserted == 1
