"""The record of what is pinned: a Build, in a pinned map of its own.

bpffs holds no plain files.
"""

from __future__ import annotations

import os
from pathlib import Path

from bpf import elements, kernel
from bpf.build import Build

KEY_SIZE, TEXT_SIZE = 64, 4096
MOST = 256
#: No map is called so.
PROGRAMS = "programs/"


def read(path: Path) -> Build:
    """What is recorded; an empty Build if nothing is, or not in this form."""
    if not path.exists():
        return Build()
    with kernel.pinned(path) as fd:
        info = kernel.map_info(fd, path.name)
        if (info.key_size, info.value_size) != (KEY_SIZE, TEXT_SIZE):
            return Build()
        found = dict(elements.entries(fd, info, path.name))
    texts = {text(key): text(value) for key, value in found.items()}
    return Build(texts.pop(PROGRAMS, ""), texts)


def write(path: Path, made: Build) -> None:
    """Record what is pinned, where nothing is recorded yet."""
    fd = kernel.create_map(kernel.MAP_TYPE_HASH, (KEY_SIZE, TEXT_SIZE), MOST, path.name)
    try:
        for name, said in {**made.maps, PROGRAMS: made.programs}.items():
            key, value = name.encode().ljust(KEY_SIZE, b"\0"), said.encode()
            elements.update(fd, key, value.ljust(TEXT_SIZE, b"\0"), path.name)
        kernel.pin(fd, path)
    finally:
        os.close(fd)


def text(raw: bytes) -> str:
    """Without what fills it up."""
    return raw.rstrip(b"\0").decode()
