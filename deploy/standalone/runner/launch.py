"""Puts itself into a pod's place and becomes the pod's process.

    python3 -I -S launch.py '<Launch as JSON>'

Run by path, once per process start: standard library only, and little of it,
because every import is time that a pod waits.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWNET = 0x40000000
MS_BIND = 0x1000
MS_REC = 0x4000
MS_SHARED = 1 << 20
MS_SLAVE = 1 << 19
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1

#: Exit statuses as shells and container runtimes use them.
SETUP_FAILED = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127

#: What a pod's process finds when its manifest says nothing of PATH.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Fields of pod.json, and the files in /etc that a pod has of its own.
FILES = (("resolv_conf", "resolv.conf"), ("hosts", "hosts"))

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Raise OSError with the errno of a libc call that returned -1."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def setns(fd: int, kind: int = CLONE_NEWNET) -> None:
    """Move the calling thread into a namespace."""
    check(libc.setns(fd, kind), "setns")


def unshare(flags: int) -> None:
    """Give the calling thread namespaces of its own."""
    check(libc.unshare(flags), "unshare")


def mount(source: str, target: str, flags: int) -> None:
    """mount(2) without a type or data; bind mounts and propagation."""
    result = libc.mount(source.encode(), target.encode(), None, ctypes.c_ulong(flags), None)
    check(result, f"mount {target}")


def umount(target: str) -> None:
    """Detach what is mounted at a path."""
    check(libc.umount2(target.encode(), MNT_DETACH), f"umount {target}")


def exec_argv(pod: Mapping[str, Any], command: Sequence[str]) -> list[str]:
    """What to execute to have a command run in a pod's place, as `tandem exec` does.

    pod: the contents of its pod.json. The command has the caller's terminal and
    standard streams, the pod's environment, and its exit status is passed on.
    """
    binds = [[pod[key], f"/etc/{name}"] for key, name in FILES if pod.get(key)]
    told = {
        "argv": list(command),
        "cgroup": pod["cgroup"],
        "netns": pod["netns"],
        "hostname": pod["name"],
        "binds": binds,
        "environment": pod.get("environment") or {"PATH": PATH},
        "keep": ["TERM"],
        "directory": pod.get("directory") or "/",
    }
    return [sys.executable, "-I", "-S", __file__, json.dumps(told)]


def enter(place: Mapping[str, Any]) -> None:
    """Join the cgroup, then the namespaces.

    place holds: cgroup (path), netns (path), and optionally hostname and binds
    ([[source, target] …]), which call for a UTS and a mount namespace. The
    cgroup comes first: a socket belongs to the cgroup in which it is made.
    """
    with open(f"{place['cgroup']}/cgroup.procs", "w") as procs:  # noqa: PTH123
        procs.write("0")
    fd = os.open(place["netns"], os.O_RDONLY | os.O_CLOEXEC)
    setns(fd)
    os.close(fd)
    hostname, binds = place.get("hostname"), place.get("binds")
    if hostname:
        unshare(CLONE_NEWUTS)
        encoded = hostname.encode()[:64]
        check(libc.sethostname(encoded, ctypes.c_size_t(len(encoded))), "sethostname")
    if binds:
        unshare(CLONE_NEWNS)
        # Slave, not private: a netns that is deleted later must not live on
        # because a pod's mount namespace holds a copy of its mount.
        mount("none", "/", MS_SLAVE | MS_REC)
        for source, target in binds:
            mount(source, target, MS_BIND)


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends."""
    check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if os.getppid() != parent:  # it ended before we asked
        os._exit(SETUP_FAILED)


def become(launch: Mapping[str, Any]) -> None:
    """Execute the command; returns only by raising OSError."""
    argv = launch["argv"]
    environment = dict(launch["environment"])
    for name in launch.get("keep") or ():
        if name in os.environ:
            environment.setdefault(name, os.environ[name])
    if launch.get("session"):
        os.setsid()
    os.chdir(launch.get("directory") or "/")
    os.umask(0o022)
    # What is ignored stays so across exec: by Python, or by nohup around us.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    os.execvpe(argv[0], argv, environment)  # noqa: S606


def explain(error: OSError, launch: Mapping[str, Any]) -> tuple[int, str]:
    """Exit status and message for a command that could not be executed."""
    directory, argv = launch.get("directory") or "/", launch["argv"]
    if error.filename == directory:
        return SETUP_FAILED, f"working directory {directory}: {error.strerror}"
    if isinstance(error, FileNotFoundError):
        return NOT_FOUND, f"command {argv[0]!r} not found"
    if isinstance(error, PermissionError):
        return NOT_EXECUTABLE, f"command {argv[0]!r} is not executable"
    return NOT_EXECUTABLE, f"command {argv[0]!r}: {error.strerror}"


def main() -> None:
    """Become what the first argument describes, or say why not and exit.

    report: a file descriptor for that message, closed by a successful exec; the
    standard error without it.
    """
    launch = json.loads(sys.argv[1])
    report = launch.get("report")
    if report is None:
        report = 2
    else:
        os.set_inheritable(report, False)
    try:
        if launch.get("parent"):
            die_with(launch["parent"])
        enter(launch)
    except OSError as error:
        status, message = SETUP_FAILED, f"can't enter the pod: {error.strerror or error}"
    else:
        try:
            become(launch)
        except OSError as error:
            status, message = explain(error, launch)
    os.write(report, f"{message}\n".encode())
    os._exit(status)


if __name__ == "__main__":
    main()
