"""Entries of maps, by bpf(2)."""

from __future__ import annotations

import errno
import os

from bpf import kernel
from bpf.elements import Done, delete_batch, update_batch


def test_a_batch_says_how_far_it_came() -> None:
    fd = kernel.create_map(kernel.MAP_TYPE_HASH, (4, 8), 2, "hash")
    keys = b"".join(number.to_bytes(4, "little") for number in range(3))
    assert update_batch(fd, keys, bytes(24), 3, "hash") == Done(2, errno.E2BIG)
    assert update_batch(fd, keys[:8], bytes(16), 2, "hash") == Done(2, 0)
    assert delete_batch(fd, keys[4:], 2, "hash") == Done(1, errno.ENOENT)
    assert delete_batch(fd, keys[:4], 1, "hash") == Done(1, 0)
    assert delete_batch(fd, keys[:4], 1, "hash") == Done(0, errno.ENOENT)
    os.close(fd)
