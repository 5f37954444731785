"""One hash map: the kernel's, and the same in memory.

A Table is one hash map. PinnedTable is the kernel's, opened by its pin; MemoryTable
behaves the same and needs no kernel: both pass one test suite.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, Protocol

from bpf import elements, kernel
from bpf.codecs import Codec, K, V, split
from bpf.errors import KernelError, LayoutError, MapFullError


class Entries(Protocol, Generic[K, V]):
    """Entries by key, one at a time: keys and values of one struct each."""

    @property
    def name(self) -> str:
        """The map's name, as in include/maps.h."""
        ...

    @property
    def max_entries(self) -> int:
        """Most entries it can hold."""
        ...

    def get(self, key: K) -> V | None:
        """The entry's value, or None."""
        ...

    def put(self, key: K, value: V) -> None:
        """Write an entry, new or not; raises MapFullError, LayoutError."""
        ...

    def delete(self, key: K) -> bool:
        """Remove an entry; whether there was one."""
        ...

    def items(self) -> Iterator[tuple[K, V]]:
        """All entries, in no order; entries written meanwhile may be missed."""
        ...


class Table(Entries[K, V], Protocol[K, V]):
    """One hash map, whose entries can be written in bulk too."""

    def put_packed(self, keys: bytes, values: bytes) -> None:
        """Write entries in order, each as the kernel holds it, end to end.

        Raises MapFullError, with the number of those before it in ``done``.
        """
        ...

    def delete_packed(self, keys: bytes) -> None:
        """Remove entries in order; those that aren't there are passed over."""
        ...

    def packed_items(self) -> Iterator[tuple[bytes, bytes]]:
        """``items`` as the kernel holds them."""
        ...


def number_of(
    keys: bytes, key: Codec[K], values: bytes | None = None, value: Codec[V] | None = None
) -> int:
    """How many entries these are; raises LayoutError for a piece of one."""
    count, rest = divmod(len(keys), key.size)
    if rest or (values is not None and value and len(values) != count * value.size):
        raise LayoutError(f"{len(keys)} and {len(values or b'')} bytes are no entries")
    return count


class PinnedTable(Generic[K, V]):
    """A map of the kernel's, opened by its pin; holds a file descriptor."""

    def __init__(self, path: Path, keys: Codec[K], values: Codec[V]) -> None:
        """Raises KernelError when there's no such pin, LayoutError when it differs."""
        self.name = path.name
        self.keys = keys
        self.values = values
        self.fd = kernel.open_pin(path)
        self.info = kernel.map_info(self.fd, self.name)
        if (self.info.key_size, self.info.value_size) != (keys.size, values.size):
            os.close(self.fd)
            raise LayoutError(
                f"map {path} has keys of {self.info.key_size} and values of "
                f"{self.info.value_size} bytes, not {keys.size} and {values.size}: "
                "it was made by another version; load the programs again"
            )

    @property
    def max_entries(self) -> int:
        """Most entries it can hold."""
        return self.info.max_entries

    def get(self, key: K) -> V | None:
        """The entry's value, or None."""
        raw = elements.lookup(self.fd, self.keys.pack(key), self.values.size, self.name)
        return None if raw is None else self.values.unpack(raw)

    def put(self, key: K, value: V) -> None:
        """Write an entry, new or not; raises MapFullError, LayoutError."""
        try:
            elements.update(self.fd, self.keys.pack(key), self.values.pack(value), self.name)
        except KernelError as error:
            if error.errno == errno.E2BIG:
                raise MapFullError(self.name, self.max_entries) from None
            raise

    def delete(self, key: K) -> bool:
        """Remove an entry; whether there was one."""
        return elements.delete(self.fd, self.keys.pack(key), self.name)

    def items(self) -> Iterator[tuple[K, V]]:
        """All entries, in no order; entries written meanwhile may be missed."""
        for key, value in self.packed_items():
            yield self.keys.unpack(key), self.values.unpack(value)

    def put_packed(self, keys: bytes, values: bytes) -> None:
        """Write entries in order, each as the kernel holds it, end to end.

        Raises MapFullError, with the number of those before it in ``done``.
        """
        count = number_of(keys, self.keys, values, self.values)
        what = f"{self.name}, {count} entries"
        done = elements.update_batch(self.fd, keys, values, count, what)
        if done.errno == errno.E2BIG:
            raise MapFullError(self.name, self.max_entries, done.count)
        if done.errno:
            raise KernelError(f"bpf MAP_UPDATE_BATCH {what}", done.errno)

    def delete_packed(self, keys: bytes) -> None:
        """Remove entries in order; those that aren't there are passed over."""
        count = number_of(keys, self.keys)
        while count:
            what = f"{self.name}, {count} entries"
            done = elements.delete_batch(self.fd, keys, count, what)
            if done.errno not in {0, errno.ENOENT}:
                raise KernelError(f"bpf MAP_DELETE_BATCH {what}", done.errno)
            passed = min(count, done.count + 1)
            keys, count = keys[passed * self.keys.size :], count - passed

    def packed_items(self) -> Iterator[tuple[bytes, bytes]]:
        """``items`` as the kernel holds them."""
        return elements.entries(self.fd, self.info, self.name)

    def close(self) -> None:
        """Close the file descriptor; the map stays."""
        os.close(self.fd)


class MemoryTable(Generic[K, V]):
    """A table without a kernel; holds bytes too, so that what fits there fits here."""

    def __init__(self, name: str, max_entries: int, keys: Codec[K], values: Codec[V]) -> None:
        self.name = name
        self.max_entries = max_entries
        self.keys = keys
        self.values = values
        self.entries: dict[bytes, bytes] = {}

    def get(self, key: K) -> V | None:
        """The entry's value, or None."""
        raw = self.entries.get(self.keys.pack(key))
        return None if raw is None else self.values.unpack(raw)

    def put(self, key: K, value: V) -> None:
        """Write an entry, new or not; raises MapFullError, LayoutError."""
        raw_key, raw_value = self.keys.pack(key), self.values.pack(value)
        if raw_key not in self.entries and len(self.entries) >= self.max_entries:
            raise MapFullError(self.name, self.max_entries)
        self.entries[raw_key] = raw_value

    def delete(self, key: K) -> bool:
        """Remove an entry; whether there was one."""
        return self.entries.pop(self.keys.pack(key), None) is not None

    def items(self) -> Iterator[tuple[K, V]]:
        """All entries, in no order; entries written meanwhile may be missed."""
        for key, value in self.packed_items():
            yield self.keys.unpack(key), self.values.unpack(value)

    def put_packed(self, keys: bytes, values: bytes) -> None:
        """Write entries in order, each as the kernel holds it, end to end.

        Raises MapFullError, with the number of those before it in ``done``.
        """
        number_of(keys, self.keys, values, self.values)
        entries = zip(split(keys, self.keys.size), split(values, self.values.size), strict=True)
        for done, (key, value) in enumerate(entries):
            if key not in self.entries and len(self.entries) >= self.max_entries:
                raise MapFullError(self.name, self.max_entries, done)
            self.entries[key] = value

    def delete_packed(self, keys: bytes) -> None:
        """Remove entries in order; those that aren't there are passed over."""
        number_of(keys, self.keys)
        for key in split(keys, self.keys.size):
            self.entries.pop(key, None)

    def packed_items(self) -> Iterator[tuple[bytes, bytes]]:
        """``items`` as the kernel holds them."""
        return iter(list(self.entries.items()))
