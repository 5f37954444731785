"""Files and signals that a process gives up, by Landlock (Linux 5.13), without privileges.

Numbers and layouts: linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION_FLAG = 1
RULE_PATH_BENEATH = 1
READ_FILE, READ_DIR = 1 << 2, 1 << 3
#: By the ABI that brought them: how many rights to files there are.
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
#: TCP's bind and connect (ABI 4); abstract sockets and signals (ABI 6).
NETWORK = 3
SCOPES = 3

libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """The kernel's ABI, 0 where it has no Landlock."""
    return max(0, int(libc.syscall(CREATE_RULESET, None, 0, VERSION_FLAG)))


def make_ruleset(readable: Iterable[str]) -> int:
    """Rules by which nothing but what is below these may be read; what has to be said to
    ``restrict`` later. Raises OSError.
    """
    abi = version()
    if not abi:
        raise OSError(0, "the kernel has no Landlock")
    rights = (1 << FILE_RIGHTS.get(abi, FILE_RIGHTS[5])) - 1
    layout = struct.pack("=QQQ", rights, NETWORK, SCOPES)
    layout = layout[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = check(libc.syscall(CREATE_RULESET, layout, len(layout), 0))
    for path in readable:
        add(ruleset, path)
    return ruleset


def add(ruleset: int, path: str) -> None:
    """Let what is below a path be read, if there is such a path."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        allowed = READ_FILE | (READ_DIR if os.path.isdir(path) else 0)  # noqa: PTH112
        rule = struct.pack("=Qi", allowed, place)
        check(libc.syscall(ADD_RULE, ruleset, RULE_PATH_BENEATH, rule, 0))
    finally:
        os.close(place)


def restrict(ruleset: int) -> None:
    """Give up everything else, for good; needs no_new_privs. Raises OSError."""
    check(libc.syscall(RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def check(result: int) -> int:
    """A system call's result; raises OSError for what failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return int(result)
