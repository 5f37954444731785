"""What this machine lacks for the L4 engine, found by trying.

Versions in uname lie both ways (distributions backport, sandboxes take away), so
each feature is used once, in the smallest way. Nothing is attached.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bpf import bpffs, kernel, mounts
from bpf.compile import PYTHON, UAPI
from bpf.errors import KernelError
from bpf.kernel import AttachType, ProgType
from bpf.netns import SO_NETNS_COOKIE

# Instructions: opcode, registers, offset, immediate.
RETURN_1 = struct.pack("=BBhi", 0xB7, 0, 0, 1) + struct.pack("=BBhi", 0x95, 0, 0, 0)
GET_NETNS_COOKIE = struct.pack("=BBhi", 0x85, 0, 0, 122)


@dataclass(frozen=True, slots=True)
class MissingFeature:
    """Something to be had first; since_kernel: "any" when no kernel is to blame."""

    name: str
    since_kernel: str
    hint: str

    def __str__(self) -> str:
        since = "" if self.since_kernel == ANY else f" (Linux {self.since_kernel} has it)"
        return f"{self.name}{since}: {self.hint}"


#: What is tried, and what to say of it. PERMISSION stands for all that need it.
ANY = "any"
PERMISSION = "bpf(2) permission"
KERNEL = "use a newer kernel, with CONFIG_CGROUP_BPF and CONFIG_BPF_SYSCALL"
FEATURES = (
    MissingFeature(PERMISSION, ANY, "run as root"),
    MissingFeature("cgroup v2", "4.5", "mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"),
    MissingFeature("bpffs", "4.4", "mount -t bpf bpf /sys/fs/bpf"),
    MissingFeature("sock_addr programs for connect", "4.17", KERNEL),
    MissingFeature("sock_addr programs for getpeername", "5.8", KERNEL),
    MissingFeature("sockops programs", "4.13", KERNEL),
    MissingFeature("cgroup/getsockopt programs", "5.3", KERNEL),
    MissingFeature("sk_lookup programs", "5.9", KERNEL),
    MissingFeature("netns cookies in sock_addr programs", "5.8", KERNEL),
    MissingFeature("netns cookies in sockops programs", "5.15", KERNEL),
    MissingFeature("netns cookies in getsockopt programs", "5.15", KERNEL),
    MissingFeature("netns cookies of sockets", "5.14", KERNEL),
    MissingFeature("cgroup links", "5.7", KERNEL),
    MissingFeature("network namespace links", "5.9", KERNEL),
    MissingFeature("BCC", ANY, "apt-get install python3-bpfcc"),
    MissingFeature("kernel interface headers", ANY, "apt-get install linux-libc-dev"),
)


def missing_features(cgroup_root: Path | None = None) -> list[MissingFeature]:
    """Everything that is missing, in a sensible order of repair; empty: all is well.

    cgroup_root: the directory that programs are to be attached at, if known.
    """
    return judge(try_all(cgroup_root))


def judge(results: Mapping[str, int]) -> list[MissingFeature]:
    """The features that failed. results: an errno per feature name, 0 for success.

    Without permission nothing can be said of what needs it.
    """
    denied = {errno.EPERM, errno.EACCES}
    failed = [feature for feature in FEATURES if results[feature.name]]
    if results[PERMISSION] in denied:
        known = [f for f in failed if results[f.name] not in denied]
        return [FEATURES[0], *known]
    return failed


def try_all(cgroup_root: Path | None) -> dict[str, int]:
    """Try every feature; an errno each, 0 for success."""
    connect = AttachType.CGROUP_INET4_CONNECT
    getpeername = AttachType.CGROUP_INET4_GETPEERNAME
    getsockopt = AttachType.CGROUP_GETSOCKOPT
    sockops = AttachType.CGROUP_SOCK_OPS
    lookup = AttachType.SK_LOOKUP
    cookie = GET_NETNS_COOKIE + RETURN_1
    address = ProgType.CGROUP_SOCK_ADDR
    tries: tuple[Callable[[], int], ...] = (
        try_map,
        lambda: try_cgroup(cgroup_root),
        try_bpffs,
        lambda: try_program(address, connect, RETURN_1),
        lambda: try_program(address, getpeername, RETURN_1),
        lambda: try_program(ProgType.SOCK_OPS, sockops, RETURN_1),
        lambda: try_program(ProgType.CGROUP_SOCKOPT, getsockopt, RETURN_1),
        lambda: try_program(ProgType.SK_LOOKUP, lookup, RETURN_1),
        lambda: try_program(address, connect, cookie),
        lambda: try_program(ProgType.SOCK_OPS, sockops, cookie),
        lambda: try_program(ProgType.CGROUP_SOCKOPT, getsockopt, cookie),
        try_socket_cookie,
        lambda: try_link(address, connect),
        lambda: try_link(ProgType.SK_LOOKUP, lookup),
        try_bcc,
        lambda: 0 if (UAPI / "types.h").exists() else errno.ENOENT,
    )
    return {feature.name: one() for feature, one in zip(FEATURES, tries, strict=True)}


def try_map() -> int:
    """Whether bpf(2) may be used at all."""
    try:
        os.close(kernel.create_map(kernel.MAP_TYPE_ARRAY, (4, 8), 1, "probe"))
    except KernelError as error:
        return error.errno or errno.EINVAL
    return 0


def try_cgroup(root: Path | None) -> int:
    """Whether there is a cgroup v2 tree, and root is in it."""
    found = mounts.current()
    if root is not None:
        return 0 if mounts.kind_at(root, found) == "cgroup2" else errno.ENOENT
    return 0 if any(mount.kind == "cgroup2" for mount in found) else errno.ENOENT


def try_bpffs() -> int:
    """Whether there is a bpffs, or the kernel has one to mount (the loader does)."""
    if bpffs.holds(bpffs.MOUNT_POINT):
        return 0
    known = "\tbpf\n" in Path("/proc/filesystems").read_text()
    return 0 if known and bpffs.MOUNT_POINT.is_dir() else errno.ENODEV


def try_program(kind: ProgType, attach: AttachType, code: bytes) -> int:
    """Whether the kernel accepts a program of this kind."""
    try:
        os.close(kernel.load_program(kind, attach, code, "probe"))
    except KernelError as error:
        return error.errno or errno.EINVAL
    return 0


def try_link(kind: ProgType, attach: AttachType) -> int:
    """Whether a program can be linked: to no target, which a kernel must notice."""
    try:
        program = kernel.load_program(kind, attach, RETURN_1, "probe")
    except KernelError as error:
        return error.errno or errno.EINVAL
    try:
        os.close(kernel.create_link(program, (1 << 32) - 1, attach, "probe"))
    except KernelError as error:
        return 0 if error.errno == errno.EBADF else error.errno or errno.EINVAL
    finally:
        os.close(program)
    return 0


def try_socket_cookie() -> int:
    """Whether a socket tells its netns cookie."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
        except OSError as error:
            return error.errno or errno.EINVAL
    return 0


def try_bcc() -> int:
    """Whether Debian's Python has BCC."""
    code = "import sys, importlib.util as u; sys.exit(u.find_spec('bcc') is None)"
    try:
        done = subprocess.run([PYTHON, "-I", "-c", code], check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return errno.ENOENT
    return errno.ENOENT if done.returncode else 0
