"""Addresses as the kernel's maps hold them: always 16 bytes."""

from __future__ import annotations

from bpf.errors import LayoutError
from bpf.layout import Family

V4_MAPPED = bytes(10) + b"\xff\xff"


def mapped(packed: bytes) -> bytes:
    """A packed address (4 or 16 bytes) as 16 bytes, IPv4 as v4-mapped."""
    if len(packed) == 4:
        return V4_MAPPED + packed
    if len(packed) == 16:
        return packed
    raise LayoutError(f"{packed!r} is no packed address: {len(packed)} bytes, not 4 or 16")


def family(address: bytes) -> Family:
    """The family of a packed address (4 or 16 bytes); v4-mapped is IPv4."""
    return Family.IPV4 if mapped(address).startswith(V4_MAPPED) else Family.IPV6
