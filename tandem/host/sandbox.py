"""What the plug-in host gives up before any filter's code runs.

What isn't possible here is told, not hidden: the waypoint logs it. There is no seccomp
filter: the kernel's system calls are those of any process without rights.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable

from tandem.host import landlock

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUSER = 0x40000000, 0x08000000, 0x10000000
NOBODY = 65534
#: From here on, user ids that nobody has: each host gets one of its own, so that hosts
#: can't send each other signals.
FIRST_UID = 2_000_000_000
#: What the loader of shared libraries reads, and time zones.
LIBRARIES = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache",
    "/usr/share/zoneinfo", "/etc/localtime", "/dev/null", "/dev/urandom",
)  # fmt: skip
OPEN_FILES = 64

libc = ctypes.CDLL(None, use_errno=True)


def enter(parent: int, memory: int) -> list[str]:
    """Give everything up; what couldn't be, in words.

    parent: with whom this process ends; memory: bytes beyond what it has now. Raises
    OSError where even what needs no privileges can't be given up.
    """
    missing: list[str] = []
    memory += mapped()
    root = os.geteuid() == 0
    alone = CLONE_NEWNET | CLONE_NEWIPC
    attempt(missing, "it has the waypoint's network", lambda: unshare(root, alone))
    ruleset = -1
    try:
        ruleset = landlock.make_ruleset([*filter(None, sys.path), *LIBRARIES])
    except OSError as error:
        missing.append(f"it may read what every user may ({error.strerror})")
    os.chdir("/")
    os.umask(0o077)
    if root:
        become(FIRST_UID + os.getpid())
    else:
        missing.append("it is of the waypoint's user: run the waypoint as root for another")
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_DUMPABLE, 0)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(0)
    if ruleset >= 0:
        landlock.restrict(ruleset)
    limit(memory)
    return missing


def attempt(missing: list[str], otherwise: str, work: Callable[[], None]) -> None:
    """Do it, or tell what holds otherwise."""
    try:
        work()
    except OSError as error:
        missing.append(f"{otherwise} ({error.strerror})")


def unshare(root: bool, flags: int) -> None:
    """Have namespaces of our own, with a user namespace where that is the way there."""
    if libc.unshare(flags if root else flags | CLONE_NEWUSER):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def become(number: int) -> None:
    """Be another user, without groups; where that one can't be, nobody. Raises OSError."""
    try:
        os.setgroups([])
        try:
            os.setresgid(number, number, number)
            os.setresuid(number, number, number)
        except OSError:
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError as error:
        raise OSError(
            error.errno,
            "the waypoint runs as root without the right to be another user: give it "
            f"CAP_SETUID and CAP_SETGID, or run it as another ({error.strerror})",
        ) from error


def limit(memory: int) -> None:
    """Bounds: address space, no files written, no processes or threads, no core dumps."""
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
    ):
        _soft, hard = resource.getrlimit(what)
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)  # noqa: PLW2901
        resource.setrlimit(what, (most, most))


def mapped() -> int:
    """Bytes of address space that this process has."""
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
        return int(file.read().split()[0]) * resource.getpagesize()


def prctl(option: int, value: int) -> None:
    """prctl(2). Raises OSError."""
    if libc.prctl(option, value, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl {option}: {os.strerror(number)}")
