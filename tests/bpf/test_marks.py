"""Marks: the kernel's and those in memory behave the same."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from bpf import kernel
from bpf.errors import KernelError, LayoutError
from bpf.layout import FlowFlag, Mark
from bpf.maps import Maps
from bpf.marks import PinnedMarks
from tests.bpf.engine import Engine, packed

MARK = Mark(
    *(1, 2, packed("10.0.0.1"), 80, FlowFlag.TUNNELLED, 3),
    *(packed("10.0.0.2"), 40000, 4),
)


def test_a_mark_is_its_sockets(maps: Maps) -> None:
    with socket.socket() as one, socket.socket(socket.AF_INET6) as other:
        assert maps.marks.get(one.fileno()) is None
        maps.marks.set(one.fileno(), MARK)
        assert maps.marks.get(one.fileno()) == MARK
        maps.marks.set(one.fileno(), Mark())
        assert maps.marks.get(one.fileno()) == Mark()
        assert maps.marks.get(other.fileno()) is None


def test_a_mark_goes_with_its_socket(mesh: Engine) -> None:
    with socket.socket() as one:
        number = one.fileno()
        mesh.maps.marks.set(number, MARK)
    with socket.socket() as other:
        assert other.fileno() == number  # the kernel gives the lowest that is free
        assert mesh.maps.marks.get(number) is None


def test_only_sockets_are_marked(mesh: Engine, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(KernelError) as caught:
        mesh.maps.marks.set(file.fileno(), MARK)
    assert caught.value.errno in {errno.EBADF, errno.ENOTSOCK}


def test_a_map_of_another_layout_is_refused(mesh: Engine) -> None:
    path = mesh.place.pin_dir / "other"
    fd = kernel.create_map(kernel.MAP_TYPE_HASH, (4, 8), 1, "other")
    try:
        kernel.pin(fd, path)
        with pytest.raises(LayoutError):
            PinnedMarks(path)
    finally:
        path.unlink()
        os.close(fd)
