"""What the daemon says of sockets of its own, to the programs that see them.

The kernel keeps a mark with its socket, so it goes when the socket does. A process can
only write one by the socket's descriptor and the map's, and the map is the daemon's.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Final, Protocol

from bpf import elements, kernel
from bpf.errors import LayoutError
from bpf.layout import Mark

DESCRIPTOR: Final = struct.Struct("=i")


class Marks(Protocol):
    """The map of marks, by socket."""

    def set(self, descriptor: int, mark: Mark) -> None:
        """Mark a socket, or mark it anew; before its connect().

        Raises KernelError: EBADF for what is no socket, ENOMEM where the kernel gives
        no memory for one more, LayoutError for a mark of other values.
        """
        ...

    def get(self, descriptor: int) -> Mark | None:
        """A socket's mark, or None."""
        ...


class PinnedMarks:
    """The kernel's, opened by its pin; holds a file descriptor."""

    def __init__(self, path: Path) -> None:
        """Raises KernelError when there's no such pin, LayoutError when it differs."""
        self.name = path.name
        self.fd = kernel.open_pin(path)
        info = kernel.map_info(self.fd, self.name)
        if (info.key_size, info.value_size) != (DESCRIPTOR.size, Mark.SIZE):
            os.close(self.fd)
            raise LayoutError(f"map {path} was made by another version; load it again")

    def set(self, descriptor: int, mark: Mark) -> None:
        """Mark a socket, or mark it anew; before its connect()."""
        elements.update(self.fd, DESCRIPTOR.pack(descriptor), mark.pack(), self.name)

    def get(self, descriptor: int) -> Mark | None:
        """A socket's mark, or None."""
        raw = elements.lookup(self.fd, DESCRIPTOR.pack(descriptor), Mark.SIZE, self.name)
        return None if raw is None else Mark.unpack(raw)

    def close(self) -> None:
        """Close the file descriptor; the map stays."""
        os.close(self.fd)


class MemoryMarks:
    """Marks without a kernel, by descriptor: nobody takes away what is closed."""

    def __init__(self) -> None:
        self.marks: dict[int, Mark] = {}

    def set(self, descriptor: int, mark: Mark) -> None:
        """Mark a socket, or mark it anew; before its connect()."""
        self.marks[descriptor] = Mark.unpack(mark.pack())

    def get(self, descriptor: int) -> Mark | None:
        """A socket's mark, or None."""
        return self.marks.get(descriptor)
