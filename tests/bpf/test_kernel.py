"""bpf(2)."""

from __future__ import annotations

import errno
import os

import pytest

from bpf import kernel
from bpf.errors import KernelError
from bpf.kernel import AttachType, ProgType

MAP_TYPE_HASH = 1


def test_failures_name_command_and_object() -> None:
    with pytest.raises(KernelError, match="bpf MAP_CREATE nothing: Invalid argument") as failed:
        kernel.create_map(kernel.MAP_TYPE_ARRAY, (5, 8), 1, "nothing")
    assert failed.value.errno == errno.EINVAL


def test_a_program_that_does_not_verify_is_refused() -> None:
    with pytest.raises(KernelError):
        kernel.load_program(ProgType.SK_LOOKUP, AttachType.SK_LOOKUP, bytes(8), "empty")


def test_array_maps_hold_what_is_written() -> None:
    fd = kernel.create_map(kernel.MAP_TYPE_ARRAY, (4, 8), 2, "array")
    kernel.update(fd, bytes(4), b"12345678", "array")
    assert kernel.lookup(fd, bytes(4), 8, "array") == b"12345678"
    assert kernel.lookup(fd, b"\xff" * 4, 8, "array") is None
    assert kernel.map_info(fd, "array") == kernel.MapInfo(4, 8, 2, kernel.MAP_TYPE_ARRAY)
    os.close(fd)


def test_every_cpu_is_counted() -> None:
    assert kernel.possible_cpus() >= len(os.sched_getaffinity(0))


def test_a_batch_says_how_far_it_came() -> None:
    fd = kernel.create_map(MAP_TYPE_HASH, (4, 8), 2, "hash")
    keys = b"".join(number.to_bytes(4, "little") for number in range(3))
    assert kernel.update_batch(fd, keys, bytes(24), 3, "hash") == kernel.Done(2, errno.E2BIG)
    assert kernel.update_batch(fd, keys[:8], bytes(16), 2, "hash") == kernel.Done(2, 0)
    assert kernel.delete_batch(fd, keys[4:], 2, "hash") == kernel.Done(1, errno.ENOENT)
    assert kernel.delete_batch(fd, keys[:4], 1, "hash") == kernel.Done(1, 0)
    assert kernel.delete_batch(fd, keys[:4], 1, "hash") == kernel.Done(0, errno.ENOENT)
    os.close(fd)
