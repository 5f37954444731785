"""Per-CPU maps: sums that the kernel keeps, and limits that it is given.

Every CPU has a value of its own, so that no connection waits for another. Sums are
hashes of 64-bit sums, read as their total.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from bpf import kernel
from bpf.errors import LayoutError
from bpf.layout import EventClass, EventLimit, Traffic, TrafficKey

#: Nanoseconds of a window of events: EVENT_WINDOW_SHIFT of include/events.h.
WINDOW = 1 << 27


class Sums(Protocol):
    """The traffic map: what was summed under each key."""

    @property
    def name(self) -> str:
        """The map's name, as in include/maps.h."""
        ...

    @property
    def max_entries(self) -> int:
        """Most keys it can hold."""
        ...

    def items(self) -> Iterator[tuple[TrafficKey, Traffic]]:
        """All keys with their totals, in no order."""
        ...

    def take(self, key: TrafficKey) -> Traffic | None:
        """Remove a key; the total it had, or None."""
        ...

    def ensure(self, key: TrafficKey) -> None:
        """Make a key, with sums of 0, unless it is there; KernelError if it can't be."""
        ...


def total(raw: bytes, cpus: int) -> Traffic:
    """The sum over all CPUs' values."""
    count = Traffic.SIZE // 8
    numbers = struct.unpack(f"={count * cpus}Q", raw)
    return Traffic(*(sum(numbers[index::count]) for index in range(count)))


class PinnedSums:
    """The kernel's, opened by its pin; holds a file descriptor."""

    def __init__(self, path: Path) -> None:
        """Raises KernelError when there's no such pin, LayoutError when it differs."""
        self.name = path.name
        self.fd = kernel.open_pin(path)
        self.cpus = kernel.possible_cpus()
        info = kernel.map_info(self.fd, self.name)
        if (info.key_size, info.value_size) != (TrafficKey.SIZE, Traffic.SIZE):
            os.close(self.fd)
            raise LayoutError(f"map {path} was made by another version; load it again")
        self.max_entries = info.max_entries
        self.info = replace(info, value_size=info.value_size * self.cpus)

    def items(self) -> Iterator[tuple[TrafficKey, Traffic]]:
        """All keys with their totals, in no order."""
        for key, raw in kernel.entries(self.fd, self.info, self.name):
            yield TrafficKey.unpack(key), total(raw, self.cpus)

    def take(self, key: TrafficKey) -> Traffic | None:
        """Remove a key; the total it had, or None.

        One step for the kernel: what is counted meanwhile is in this total or
        under a new key, but for a program that has just looked the old one up.
        """
        raw = kernel.take(self.fd, key.pack(), self.info.value_size, self.name)
        return None if raw is None else total(raw, self.cpus)

    def ensure(self, key: TrafficKey) -> None:
        """Make a key, with sums of 0, unless it is there; KernelError if it can't be."""
        if kernel.lookup(self.fd, key.pack(), self.info.value_size, self.name) is None:
            kernel.update(self.fd, key.pack(), bytes(self.info.value_size), self.name)

    def close(self) -> None:
        """Close the file descriptor; the map stays."""
        os.close(self.fd)


class MemorySums:
    """Sums without a kernel; whoever has them adds."""

    def __init__(self, name: str, max_entries: int) -> None:
        self.name = name
        self.max_entries = max_entries
        self.entries: dict[TrafficKey, Traffic] = {}

    def items(self) -> Iterator[tuple[TrafficKey, Traffic]]:
        """All keys with their totals, in no order."""
        return iter(list(self.entries.items()))

    def take(self, key: TrafficKey) -> Traffic | None:
        """Remove a key; the total it had, or None."""
        return self.entries.pop(key, None)

    def ensure(self, key: TrafficKey) -> None:
        """Make a key, with sums of 0, unless it is there."""
        self.entries.setdefault(key, Traffic())


class Limits(Protocol):
    """How many events the kernel may make."""

    def allow(self, kind: EventClass, most: int) -> None:
        """Let each CPU make so many events of a class in a window."""
        ...

    def suppressed(self, kind: EventClass) -> int:
        """Events of a class that weren't made, since the maps were."""
        ...


class PinnedLimits:
    """The kernel's, opened by its pin; holds a file descriptor."""

    def __init__(self, path: Path) -> None:
        """Raises KernelError when there's no such pin."""
        self.fd = kernel.open_pin(path)
        self.name = path.name
        self.cpus = kernel.possible_cpus()

    def read(self, kind: EventClass) -> list[EventLimit]:
        """A class's limit and counts, on each CPU."""
        size = EventLimit.SIZE
        raw = kernel.lookup(self.fd, struct.pack("=I", kind), size * self.cpus, self.name)
        return [EventLimit.unpack(one) for one in kernel.slices(raw or b"", size, self.cpus)]

    def allow(self, kind: EventClass, most: int) -> None:
        """Let each CPU make so many events of a class in a window.

        An event that is counted as suppressed in this very moment may be forgotten.
        """
        values = b"".join(replace(one, most=most).pack() for one in self.read(kind))
        kernel.update(self.fd, struct.pack("=I", kind), values, self.name)

    def suppressed(self, kind: EventClass) -> int:
        """Events of a class that weren't made, since the maps were."""
        return sum(one.suppressed for one in self.read(kind))

    def close(self) -> None:
        """Close the file descriptor; the map stays."""
        os.close(self.fd)


class MemoryLimits:
    """Limits without a kernel."""

    def __init__(self) -> None:
        self.allowed: dict[EventClass, int] = {}
        self.counts: dict[EventClass, int] = {}

    def allow(self, kind: EventClass, most: int) -> None:
        """Let each CPU make so many events of a class in a window."""
        self.allowed[kind] = most

    def suppressed(self, kind: EventClass) -> int:
        """Events of a class that weren't made."""
        return self.counts.get(kind, 0)
