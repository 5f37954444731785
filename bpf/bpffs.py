"""The BPF file system: where pins live."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path

from bpf import kernel, mounts
from bpf.errors import LoadError

MOUNT_POINT = Path("/sys/fs/bpf")
NAME = re.compile(r"/[A-Za-z0-9_/-]+")


def ensure(pin_dir: Path) -> None:
    """Make pin_dir a directory in a bpffs, mounted if it isn't; raises LoadError."""
    if not NAME.fullmatch(str(pin_dir)):
        raise LoadError(
            f"pin directory {pin_dir}: must be absolute, of letters, digits, - and _"
        )
    try:
        if MOUNT_POINT in pin_dir.parents and not holds(pin_dir):
            mount(MOUNT_POINT)
        if not holds(pin_dir):
            raise LoadError(f"pin directory {pin_dir}: not in a bpffs, as {MOUNT_POINT} is")
        pin_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LoadError(f"pin directory {pin_dir}: {error.strerror}") from None


def mount(point: Path) -> None:
    """Mount a new bpffs; raises OSError."""
    kind = b"bpf"
    if kernel.LIBC.mount(kind, bytes(point), kind, ctypes.c_ulong(0), None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def holds(path: Path) -> bool:
    """Whether path is, or would be, in a bpffs."""
    return mounts.kind_at(path, mounts.current()) == "bpf"


def remove(directory: Path) -> None:
    """Remove a directory of pins and all in it, if it exists."""
    if not directory.is_dir():
        return
    for entry in list(directory.iterdir()):
        if entry.is_dir():
            remove(entry)
        else:
            entry.unlink(missing_ok=True)
    directory.rmdir()
