"""bpf(2)."""

from __future__ import annotations

import errno
import os

import pytest

from bpf import elements, kernel
from bpf.errors import KernelError
from bpf.kernel import AttachType, ProgType


def test_failures_name_command_and_object() -> None:
    with pytest.raises(KernelError, match="bpf MAP_CREATE nothing: Invalid argument") as failed:
        kernel.create_map(kernel.MAP_TYPE_ARRAY, (5, 8), 1, "nothing")
    assert failed.value.errno == errno.EINVAL


def test_a_program_that_does_not_verify_is_refused() -> None:
    with pytest.raises(KernelError):
        kernel.load_program(ProgType.SK_LOOKUP, AttachType.SK_LOOKUP, bytes(8), "empty")


def test_array_maps_hold_what_is_written() -> None:
    fd = kernel.create_map(kernel.MAP_TYPE_ARRAY, (4, 8), 2, "array")
    elements.update(fd, bytes(4), b"12345678", "array")
    assert elements.lookup(fd, bytes(4), 8, "array") == b"12345678"
    assert elements.lookup(fd, b"\xff" * 4, 8, "array") is None
    assert kernel.map_info(fd, "array") == kernel.MapInfo(4, 8, 2, kernel.MAP_TYPE_ARRAY)
    os.close(fd)
