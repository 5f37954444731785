"""How many events the kernel may make: a limit for each class, on every CPU."""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from bpf import elements, kernel
from bpf.codecs import split
from bpf.layout import EventClass, EventLimit
from bpf.percpu import possible_cpus

#: Nanoseconds of a window of events: EVENT_WINDOW_SHIFT of include/events.h.
WINDOW = 1 << 27


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
        self.cpus = possible_cpus()

    def read(self, kind: EventClass) -> list[EventLimit]:
        """A class's limit and counts, on each CPU."""
        size = EventLimit.SIZE
        raw = elements.lookup(self.fd, struct.pack("=I", kind), size * self.cpus, self.name)
        return [EventLimit.unpack(one) for one in split(raw or b"", size)]

    def allow(self, kind: EventClass, most: int) -> None:
        """Let each CPU make so many events of a class in a window.

        An event that is counted as suppressed in this very moment may be forgotten.
        """
        values = b"".join(replace(one, most=most).pack() for one in self.read(kind))
        elements.update(self.fd, struct.pack("=I", kind), values, self.name)

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
