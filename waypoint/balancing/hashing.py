"""Envoy's hashes: xxHash64, and for rings that ask for it MurmurHash2."""

from __future__ import annotations

from xxhash import xxh64_intdigest

from waypoint.balancing.draws import MASK

FACTOR = 0xC6A4A7935BD1E995
SEED = 0xC70F6907


def hash_bytes(data: bytes, seed: int = 0) -> int:
    """64 bits for some bytes."""
    return xxh64_intdigest(data, seed)


def murmur(data: bytes) -> int:
    """64 bits for some bytes, as std::hash of libstdc++ makes them."""
    number = SEED ^ (len(data) * FACTOR & MASK)
    for start in range(0, len(data), 8):
        word = data[start : start + 8]
        value = int.from_bytes(word, "little")
        if len(word) == 8:
            value = value * FACTOR & MASK
            value = (value ^ (value >> 47)) * FACTOR & MASK
        number = (number ^ value) * FACTOR & MASK
    number = (number ^ (number >> 47)) * FACTOR & MASK
    return number ^ (number >> 47)
