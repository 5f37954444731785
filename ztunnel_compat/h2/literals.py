"""HPACK's integers and literal fields, as they are written (RFC 7541 sections 5 and 6.2)."""

from __future__ import annotations

from ztunnel_compat.h2.static import NAME_INDEX

#: The length of a string below this is one byte.
SHORT = 0x7F


def write_integer(value: int, pattern: int, bits: int) -> bytes:
    """An integer with a prefix of so many bits, the rest of its first byte a pattern."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes((pattern | value,))
    coded = bytearray((pattern | limit,))
    value -= limit
    while value >= 0x80:
        coded.append(value & 0x7F | 0x80)
        value >>= 7
    coded.append(value)
    return bytes(coded)


def write_string(value: bytes) -> bytes:
    """A string as it is, its length before it."""
    size = len(value)
    return (bytes((size,)) if size < SHORT else write_integer(size, 0, 7)) + value


def literal(name: bytes, value: bytes, pattern: int, bits: int) -> bytes:
    """A literal field; its name by the static table where that has it."""
    index = NAME_INDEX.get(name, 0)
    head = write_integer(index, pattern, bits)
    if not index:
        head += write_string(name)
    return head + write_string(value)
