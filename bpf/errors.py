"""What can go wrong between user space and the kernel.

BpfError
├── LayoutError     a value or a map that doesn't fit include/abi.h
├── KernelError     bpf(2) failed; holds the command and errno
│   └── MapFullError    a map has no room for one more entry
├── LinkError       a program can't be attached to a cgroup or network namespace
├── NetnsError      a network namespace can't be entered or asked for its cookie
├── CacheError      compiled programs are kept where others may write
└── LoadError       the programs can't be compiled, verified or pinned
"""

from __future__ import annotations

import os


class BpfError(Exception):
    """Base of all errors of this package."""


class LayoutError(BpfError, ValueError):
    """A field's value, or a pinned map's shape, isn't what include/abi.h says."""


class KernelError(BpfError, OSError):
    """bpf(2) failed.

    what: the command and the object it was for; errno as the kernel gave it.
    """

    def __init__(self, what: str, errno: int) -> None:
        super().__init__(errno, f"{what}: {os.strerror(errno)}")


class MapFullError(KernelError):
    """A map holds ``size`` entries and can't take another.

    done: of several entries, those that it took before.
    """

    def __init__(self, name: str, size: int, done: int = 0, errno: int = 7) -> None:
        super().__init__(
            f"map {name} is full at {size} entries; raise its size in the knobs", errno
        )
        self.map_name = name
        self.size = size
        self.done = done


class LinkError(BpfError):
    """A program can't be attached to a cgroup or network namespace."""


class NetnsError(BpfError):
    """A network namespace can't be entered, or has no cookie to tell."""


class CacheError(BpfError):
    """Compiled programs are kept where others may write: none is used."""


class LoadError(BpfError):
    """The programs can't be loaded.

    The message is short (the compiler's or verifier's own last word); ``log``
    holds everything that was said, for a bug report.
    """

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log
