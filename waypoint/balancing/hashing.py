"""Envoy's hash: xxHash64."""

from __future__ import annotations

from xxhash import xxh64_intdigest


def hash_bytes(data: bytes, seed: int = 0) -> int:
    """64 bits for some bytes."""
    return xxh64_intdigest(data, seed)
