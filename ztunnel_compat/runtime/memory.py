"""Tells the C library how to treat buffers that come and go."""

from __future__ import annotations

import ctypes

#: mallopt's names for these, in malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3


def keep_buffers() -> bool:
    """Serve large buffers from the heap, and keep what is freed for the next.

    Every read of a bulk transfer makes and drops up to 256 KB, which glibc by
    default maps and unmaps each time: a fifth of the CPU time of large bodies.
    False: this C library has no such knobs.
    """
    library = ctypes.CDLL(None)
    mallopt = getattr(library, "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, 32 << 20) and mallopt(M_TRIM_THRESHOLD, 64 << 20))
