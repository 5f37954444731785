from __future__ import annotations

import random

import hpack
import pytest

from tests.ztunnel_compat.h2.fuzz_hpack import both_decoders, their_encoder_our_decoder
from ztunnel_compat.h2.codes import ErrorCode
from ztunnel_compat.h2.decoder import Decoder
from ztunnel_compat.h2.errors import ConnectionFault
from ztunnel_compat.h2.literals import literal


def insert(name: bytes, value: bytes) -> bytes:
    return literal(name, value, 0x40, 6)


@pytest.mark.parametrize("seed", range(6))
def test_we_decode_what_hpack_encodes(seed):
    their_encoder_our_decoder(random.Random(seed), 30)


@pytest.mark.parametrize("seed", range(6))
def test_any_bytes_mean_the_same_to_hpack(seed):
    assert both_decoders(random.Random(seed), 300) > 30


@pytest.mark.soak
def test_we_decode_all_that_hpack_encodes():
    for seed in range(400):
        their_encoder_our_decoder(random.Random(seed), 50)


@pytest.mark.soak
def test_any_bytes_at_all_mean_the_same_to_hpack():
    for seed in range(700):
        both_decoders(random.Random(seed), 300)


def test_an_entry_larger_than_the_table_empties_it():
    decoder = Decoder(1 << 20)
    decoder.decode(insert(b"a", b"b"))
    assert len(decoder.entries) == 1
    decoder.decode(insert(b"a", b"b" * 4096))
    assert (len(decoder.entries), decoder.table_size) == (0, 0)


def test_the_field_section_size_counts_indexed_fields():
    decoder = Decoder(1000)
    decoder.decode(insert(b"x", b"y" * 800))
    assert decoder.list_size == 833
    fields = decoder.decode(b"\xbe" * 2)
    assert (decoder.list_size, len(fields)) == (1666, 1)


def test_a_bomb_of_indices_is_not_even_read_to_its_end():
    decoder = Decoder(1000)
    decoder.decode(insert(b"x", b"y" * 800))
    with pytest.raises(ConnectionFault, match="more than 2000 bytes in 3") as caught:
        decoder.decode(b"\xbe" * 3)
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (b"\x80", "index 0 is in neither table"),
        (b"\xbe", "index 62 is in neither table"),
        (b"\x82\x20", "size update after a field"),
        (b"\x20\x20\x20", "more than 2 table size updates"),
        (b"\x3f\xe2\x1f", "a table of 4097 bytes"),
        (b"\x00\x05abc", "a string of 5 bytes reaches beyond"),
        (b"\x00", "cut off"),
        (b"\xff\x80\x80\x80\x80\x80\x01", "an integer of"),
        (b"\x00\x01a\x82\xff\xff", "badly coded"),
    ],
)
def test_bad_blocks(block, reason):
    with pytest.raises(ConnectionFault, match=reason):
        Decoder(1 << 20).decode(block)


def test_hpack_agrees_that_an_integer_may_not_be_endless():
    with pytest.raises(hpack.HPACKError):
        hpack.Decoder().decode(b"\xff" + b"\xff" * 20)
    with pytest.raises(ConnectionFault):
        Decoder(1000).decode(b"\xff" + b"\xff" * 20)
