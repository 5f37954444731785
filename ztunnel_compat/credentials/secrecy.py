"""No core dump of a process that has keys."""

from __future__ import annotations

import ctypes
import os
from typing import Final

#: linux/prctl.h. A limit on the size alone wouldn't keep a handler from getting it.
PR_SET_DUMPABLE: Final = 4


def forbid_dumps() -> None:
    """Have the kernel write no core of this process, nor show its memory to others.

    Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"core dumps can't be forbidden: {os.strerror(number)}")
