from __future__ import annotations

import random

import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from ztunnel_compat.h2 import huffman
from ztunnel_compat.h2.huffman import HuffmanError, codes, decode

ENCODE = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode


def test_the_canonical_code_is_hpacks():
    ours = {symbol: (code, length) for symbol, code, length in codes()}
    theirs = zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True)
    assert ours == dict(enumerate(theirs))


@pytest.mark.parametrize("seed", range(5))
def test_decoding(seed):
    rng = random.Random(seed)
    for size in range(200):
        text = rng.randbytes(size)
        assert decode(ENCODE(text)) == text


def test_every_symbol():
    for symbol in range(256):
        assert decode(ENCODE(bytes((symbol,)) * 3)) == bytes((symbol,)) * 3


@pytest.mark.parametrize("padding", [b"\xff\xff\xff\xff", b"\x00", b"\x07\xff", b"\xff"])
def test_padding_is_at_most_seven_one_bits(padding):
    with pytest.raises(HuffmanError):
        decode(padding)


def test_seven_one_bits_are_padding():
    assert decode(b"\x1f") == b"a"


def test_what_is_remembered_is_bounded_and_the_rest_decoded_all_the_same(monkeypatch):
    monkeypatch.setattr(huffman, "STRIDES", {})
    monkeypatch.setattr(huffman, "MOST_STRIDES", 10)
    rng = random.Random(1)
    for size in range(100):
        text = rng.randbytes(size)
        assert decode(ENCODE(text)) == text
    assert len(huffman.STRIDES) == 10
