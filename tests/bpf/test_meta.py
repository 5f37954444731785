"""The record of what is pinned."""

from __future__ import annotations

import os

from bpf import kernel, meta
from bpf.build import Build
from tests.bpf.engine import place


def test_written_and_read() -> None:
    made = Build("hash", {"pods": "a layout", "a_map_of_a_longer_name": "another\nlayout"})
    with place("meta") as where:
        where.pin_dir.mkdir(parents=True)
        path = where.pin_dir / "meta"
        assert meta.read(path) == Build()
        meta.write(path, made)
        assert meta.read(path) == made


def test_a_record_of_another_form_says_nothing() -> None:
    with place("meta") as where:
        where.pin_dir.mkdir(parents=True)
        fd = kernel.create_map(kernel.MAP_TYPE_ARRAY, (4, 64), 1, "meta")
        kernel.pin(fd, where.pin_dir / "meta")
        os.close(fd)
        assert meta.read(where.pin_dir / "meta") == Build()
