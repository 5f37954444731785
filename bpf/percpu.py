"""Per-CPU maps: what the kernel counts and sums up, read as totals.

Every CPU has values of its own, so that no connection waits for another.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Generic, Protocol

from bpf import elements, kernel
from bpf.codecs import Codec, K
from bpf.errors import LayoutError
from bpf.layout import Counter, Traffic, TrafficKey


def possible_cpus() -> int:
    """CPUs that per-CPU maps have a value for."""
    highest = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return int(highest.replace(",", "-").split("-")[-1]) + 1


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
        self.cpus = possible_cpus()
        info = kernel.map_info(self.fd, self.name)
        if (info.key_size, info.value_size) != (TrafficKey.SIZE, Traffic.SIZE):
            os.close(self.fd)
            raise LayoutError(f"map {path} was made by another version; load it again")
        self.max_entries = info.max_entries
        self.info = replace(info, value_size=info.value_size * self.cpus)

    def items(self) -> Iterator[tuple[TrafficKey, Traffic]]:
        """All keys with their totals, in no order."""
        for key, raw in elements.entries(self.fd, self.info, self.name):
            yield TrafficKey.unpack(key), total(raw, self.cpus)

    def take(self, key: TrafficKey) -> Traffic | None:
        """Remove a key; the total it had, or None.

        One step for the kernel: what is counted meanwhile is in this total or
        under a new key, but for a program that has just looked the old one up.
        """
        raw = elements.take(self.fd, key.pack(), self.info.value_size, self.name)
        return None if raw is None else total(raw, self.cpus)

    def ensure(self, key: TrafficKey) -> None:
        """Make a key, with sums of 0, unless it is there; KernelError if it can't be."""
        if elements.lookup(self.fd, key.pack(), self.info.value_size, self.name) is None:
            elements.update(self.fd, key.pack(), bytes(self.info.value_size), self.name)

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


class Counts(Protocol, Generic[K]):
    """One hash map of numbers that the kernel counts up, summed over CPUs."""

    @property
    def name(self) -> str:
        """The map's name, as in include/maps.h."""
        ...

    def items(self) -> Iterator[tuple[K, int]]:
        """All entries, in no order; entries written meanwhile may be missed."""
        ...

    def delete(self, key: K) -> bool:
        """Remove an entry; whether there was one."""
        ...


class PinnedCounts(Generic[K]):
    """A per-CPU hash map of 64-bit numbers, opened by its pin."""

    def __init__(self, path: Path, keys: Codec[K]) -> None:
        self.fd = kernel.open_pin(path)
        self.name = path.name
        info = kernel.map_info(self.fd, self.name)
        if (info.key_size, info.value_size) != (keys.size, 8):
            self.close()
            raise LayoutError(
                f"map {self.name} is {info.key_size} -> {info.value_size} bytes, "
                f"expected {keys.size} -> 8"
            )
        self.keys = keys
        self.values = struct.Struct(f"={possible_cpus()}Q")
        self.info = replace(info, value_size=self.values.size)

    def items(self) -> Iterator[tuple[K, int]]:
        """All entries, in no order; entries written meanwhile may be missed."""
        for key, value in elements.entries(self.fd, self.info, self.name):
            yield self.keys.unpack(key), sum(self.values.unpack(value))

    def delete(self, key: K) -> bool:
        """Remove an entry; whether there was one."""
        return elements.delete(self.fd, self.keys.pack(key), self.name)

    def close(self) -> None:
        """Close the file descriptor; the map stays."""
        os.close(self.fd)


class PinnedCounters:
    """The kernel's counters, summed over CPUs."""

    def __init__(self, path: Path) -> None:
        self.fd = kernel.open_pin(path)
        self.name = path.name
        self.cpus = possible_cpus()

    def __call__(self) -> dict[Counter, int]:
        """Each counter's value since the maps were made."""
        return {counter: self.read(counter) for counter in Counter}

    def read(self, counter: Counter) -> int:
        """One counter's value."""
        key = struct.pack("=I", counter)
        raw = elements.lookup(self.fd, key, 8 * self.cpus, self.name)
        return sum(struct.unpack(f"={self.cpus}Q", raw)) if raw else 0

    def close(self) -> None:
        """Close the file descriptor; the map stays."""
        os.close(self.fd)
