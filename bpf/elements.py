"""Entries of maps, by bpf(2): one at a time, and in batches.

Keys and values are bytes, as the kernel holds them; ``what`` names the map in errors.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from bpf.codecs import split
from bpf.errors import KernelError
from bpf.kernel import Command, MapInfo, address, bpf

#: in_batch, out_batch, keys, values, count, map_fd, elem_flags, flags
BATCH = struct.Struct("=QQQQIIQQ")


@dataclass(frozen=True, slots=True)
class Done:
    """How far a batch came; errno: what stopped it, or 0."""

    count: int
    errno: int


def lookup(fd: int, key: bytes, value_size: int, what: str) -> bytes | None:
    """A map entry's value, or None."""
    return value_of(Command.MAP_LOOKUP, fd, key, value_size, what)


def take(fd: int, key: bytes, value_size: int, what: str) -> bytes | None:
    """Remove a hash's entry; the value it had, or None."""
    return value_of(Command.MAP_LOOKUP_AND_DELETE, fd, key, value_size, what)


def value_of(command: Command, fd: int, key: bytes, value_size: int, what: str) -> bytes | None:
    """The value that a command finds under a key, or None."""
    raw_key = ctypes.create_string_buffer(key, len(key))
    value = ctypes.create_string_buffer(value_size)
    attributes = struct.pack("=I4xQQQ", fd, address(raw_key), address(value), 0)
    try:
        bpf(command, attributes, what)
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return value.raw


def update(fd: int, key: bytes, value: bytes, what: str) -> None:
    """Write a map entry, new or not."""
    raw_key = ctypes.create_string_buffer(key, len(key))
    raw_value = ctypes.create_string_buffer(value, len(value))
    attributes = struct.pack("=I4xQQQ", fd, address(raw_key), address(raw_value), 0)
    bpf(Command.MAP_UPDATE, attributes, what)


def delete(fd: int, key: bytes, what: str) -> bool:
    """Remove a map entry; whether there was one."""
    raw_key = ctypes.create_string_buffer(key, len(key))
    try:
        bpf(Command.MAP_DELETE, struct.pack("=I4xQQQ", fd, address(raw_key), 0, 0), what)
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def update_batch(fd: int, keys: bytes, values: bytes, count: int, what: str) -> Done:
    """Write entries, one after the other; keys and values: each end to end."""
    return batch(Command.MAP_UPDATE_BATCH, (fd, count), keys, values, what)


def delete_batch(fd: int, keys: bytes, count: int, what: str) -> Done:
    """Remove entries, one after the other; keys: end to end."""
    return batch(Command.MAP_DELETE_BATCH, (fd, count), keys, b"", what)


def batch(
    command: Command, fd_and_count: tuple[int, int], keys: bytes, values: bytes, what: str
) -> Done:
    """One of the two, until an entry fails."""
    fd, count = fd_and_count
    raw_keys = ctypes.create_string_buffer(keys, len(keys))
    raw_values = ctypes.create_string_buffer(values, len(values))
    pointers = (0, 0, address(raw_keys), address(raw_values))
    attributes = bytearray(BATCH.pack(*pointers, count, fd, 0, 0))
    try:
        bpf(command, attributes, what)
    except KernelError as error:
        return Done(int(BATCH.unpack(attributes)[4]), error.errno or 0)
    return Done(count, 0)


def entries(fd: int, info: MapInfo, what: str) -> Iterator[tuple[bytes, bytes]]:
    """All entries of a hash map.

    Entries written or deleted meanwhile may or may not be seen; all others are
    seen once, which a walk from key to key can't promise.
    """
    for keys, values in batches(fd, info, what):
        yield from zip(split(keys, info.key_size), split(values, info.value_size), strict=True)


def batches(fd: int, info: MapInfo, what: str) -> Iterator[tuple[bytes, bytes]]:
    """A map's keys and values, end to end, in batches.

    Those of a hash are of whole buckets (which hold a few each).
    """
    room = min(info.max_entries, 1024)
    # Hashes keep a bucket's number in it, tries a key.
    cursor = ctypes.create_string_buffer(max(8, info.key_size))
    start = 0
    last = False
    while not last:
        keys = ctypes.create_string_buffer(info.key_size * room)
        values = ctypes.create_string_buffer(info.value_size * room)
        pointers = (start, address(cursor), address(keys), address(values))
        attributes = bytearray(BATCH.pack(*pointers, room, fd, 0, 0))
        try:
            bpf(Command.MAP_LOOKUP_BATCH, attributes, what)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            last = True
        start = address(cursor)
        count = BATCH.unpack(attributes)[4]
        yield keys.raw[: count * info.key_size], values.raw[: count * info.value_size]
