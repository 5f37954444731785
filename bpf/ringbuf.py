"""Reads a ring buffer of the kernel's: mapped memory, no system call per record.

The kernel maps the consumer's position, the producer's, and the data twice in a
row, so that a record which wraps around reads as one piece. A record begins with
its length, whose top bits say that it is still being written, or was given up.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from bpf import kernel

BUSY = 1 << 31
DISCARDED = 1 << 30
HEADER = 8
POSITION = struct.Struct("=Q")
LENGTH = struct.Struct("=I")


class Ring(Protocol):
    """Records, oldest first, each read once."""

    def read(self, most: int) -> list[bytes]:
        """Take up to ``most`` records out; fewer: there are no more just now."""
        ...

    def skip(self, most: int) -> int:
        """Take up to ``most`` records out unread; how many there were."""
        ...

    def close(self) -> None:
        """Let go of it; the records stay."""
        ...


def walk(
    data: mmap.mmap | bytes,
    size: int,
    between: tuple[int, int],
    most: int,
    take: Callable[[int, int], None],
) -> tuple[int, int]:
    """Step over whole records; the consumer's new position and how many there were.

    data: twice ``size`` bytes; between: the consumer's position and the producer's;
    take: called with a record's offset and length.
    Stops before a record that is still being written.
    """
    found = 0
    consumer, producer = between
    while consumer < producer and found < most:
        offset = consumer & (size - 1)
        (length,) = LENGTH.unpack_from(data, offset)
        if length & BUSY:
            break
        content = length & ~DISCARDED
        if not length & DISCARDED:
            take(offset + HEADER, content)
            found += 1
        consumer += (content + HEADER + 7) & ~7
    return consumer, found


class PinnedRing:
    """A ring buffer opened by its pin; there may be one reader at a time.

    The kernel publishes a length after its record. On a CPU that reorders loads a
    record could be read before its length, were there not thousands of
    instructions of an interpreter, locks among them, in between.
    """

    def __init__(self, path: Path) -> None:
        """Raises KernelError when there's no such pin."""
        fd = kernel.open_pin(path)
        try:
            self.size = kernel.map_info(fd, path.name).max_entries
            page = mmap.PAGESIZE
            self.consumer = mmap.mmap(fd, page, mmap.MAP_SHARED)
            self.producer = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
            self.data = mmap.mmap(
                fd, 2 * self.size, mmap.MAP_SHARED, mmap.PROT_READ, offset=2 * page
            )
        finally:
            os.close(fd)

    def read(self, most: int) -> list[bytes]:
        """Take up to ``most`` records out; fewer: there are no more just now."""
        records: list[bytes] = []
        data = self.data
        self.step(most, lambda at, length: records.append(data[at : at + length]))
        return records

    def skip(self, most: int) -> int:
        """Take up to ``most`` records out unread; how many there were."""
        return self.step(most, lambda _at, _length: None)

    def step(self, most: int, take: Callable[[int, int], None]) -> int:
        """Walk from where the last walk ended, and tell the kernel how far."""
        (consumer,) = POSITION.unpack_from(self.consumer)
        (producer,) = POSITION.unpack_from(self.producer)
        after, found = walk(self.data, self.size, (consumer, producer), most, take)
        if after != consumer:
            POSITION.pack_into(self.consumer, 0, after)
        return found

    def close(self) -> None:
        """Unmap it; the records stay."""
        self.consumer.close()
        self.producer.close()
        self.data.close()


class MemoryRing:
    """A ring without a kernel; whoever has it puts records in."""

    def __init__(self, records: Iterable[bytes] = ()) -> None:
        self.records = list(records)

    def read(self, most: int) -> list[bytes]:
        """Take up to ``most`` records out."""
        taken, self.records = self.records[:most], self.records[most:]
        return taken

    def skip(self, most: int) -> int:
        """Take up to ``most`` records out unread; how many there were."""
        return len(self.read(most))

    def close(self) -> None:
        """Nothing to let go of."""
