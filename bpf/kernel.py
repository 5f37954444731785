"""bpf(2), by ctypes: the few commands that maps, pins and links need.

File descriptors are plain ints here; who opens one closes it. Every failure is
a KernelError that names the command.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from bpf.errors import KernelError

SYSCALLS = {"x86_64": 321, "aarch64": 280}
MEMBARRIER = {"x86_64": 324, "aarch64": 283}
MEMBARRIER_CMD_GLOBAL = 1
LIBC = ctypes.CDLL(None, use_errno=True)


class Command(IntEnum):
    """Commands of bpf(2)."""

    MAP_CREATE = 0
    MAP_LOOKUP = 1
    MAP_UPDATE = 2
    MAP_DELETE = 3
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_ATTACH = 8
    PROG_TEST_RUN = 10
    PROG_GET_FD_BY_ID = 13
    OBJ_GET_INFO_BY_FD = 15
    BTF_LOAD = 18
    BTF_GET_FD_BY_ID = 19
    MAP_LOOKUP_AND_DELETE = 21
    MAP_LOOKUP_BATCH = 24
    MAP_UPDATE_BATCH = 26
    MAP_DELETE_BATCH = 27
    LINK_CREATE = 28
    LINK_UPDATE = 29
    LINK_DETACH = 34


class ProgType(IntEnum):
    """Types of programs."""

    SCHED_CLS = 3
    SOCK_OPS = 13
    SK_MSG = 16
    CGROUP_SOCK = 9
    CGROUP_SOCK_ADDR = 18
    CGROUP_SOCKOPT = 25
    SK_LOOKUP = 30


class AttachType(IntEnum):
    """Places a program can be attached at."""

    NONE = 0
    CGROUP_SOCK_OPS = 3
    SK_MSG_VERDICT = 7
    CGROUP_INET4_CONNECT = 10
    CGROUP_INET4_POST_BIND = 12
    CGROUP_INET6_POST_BIND = 13
    CGROUP_INET6_CONNECT = 11
    CGROUP_UDP4_SENDMSG = 14
    CGROUP_UDP6_SENDMSG = 15
    CGROUP_UDP4_RECVMSG = 19
    CGROUP_UDP6_RECVMSG = 20
    CGROUP_GETSOCKOPT = 21
    CGROUP_INET4_GETPEERNAME = 29
    CGROUP_INET6_GETPEERNAME = 30
    SK_LOOKUP = 36


MAP_TYPE_HASH = 1
MAP_TYPE_ARRAY = 2
LINK_TYPE_NETNS = 5
#: Of an object's name, with the zero that ends it (BPF_OBJ_NAME_LEN).
NAME_SIZE = 16


@dataclass(frozen=True, slots=True)
class MapInfo:
    """What the kernel says of a map.

    btf: the number of what describes its types, key_type and value_type: theirs in it; 0
    for none.
    """

    key_size: int
    value_size: int
    max_entries: int
    kind: int = MAP_TYPE_HASH
    flags: int = 0
    btf: int = 0
    key_type: int = 0
    value_type: int = 0


@dataclass(frozen=True, slots=True)
class Types:
    """A map's types: an open BTF object, and the numbers of two types in it."""

    fd: int = 0
    key: int = 0
    value: int = 0


NO_TYPES = Types()


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """What the kernel says of a link.

    target: the cgroup's id or the netns's inode number; 0 when that is gone.
    """

    program: int
    target: int


def bpf(command: Command, attributes: bytes | bytearray, what: str) -> int:
    """One call; what the kernel writes, on failure too, is found in a bytearray."""
    size = len(attributes)
    buffer = (ctypes.c_char * size).from_buffer_copy(attributes)
    number = SYSCALLS[platform.machine()]
    result = LIBC.syscall(number, int(command), ctypes.byref(buffer), size)
    if isinstance(attributes, bytearray):
        attributes[:] = buffer.raw
    if result < 0:
        raise KernelError(f"bpf {command.name} {what}", ctypes.get_errno())
    return int(result)


def address(buffer: ctypes.Array[ctypes.c_char]) -> int:
    """Where a buffer is, as bpf(2) takes pointers."""
    return ctypes.addressof(buffer)


def pin(fd: int, path: Path) -> None:
    """Give a map, program or link a name in bpffs."""
    name = ctypes.create_string_buffer(bytes(path))
    bpf(Command.OBJ_PIN, struct.pack("=QI4x", address(name), fd), str(path))


def open_pin(path: Path) -> int:
    """A new file descriptor for what is pinned at path."""
    name = ctypes.create_string_buffer(bytes(path))
    return bpf(Command.OBJ_GET, struct.pack("=QI4x", address(name), 0), str(path))


@contextlib.contextmanager
def pinned(path: Path) -> Iterator[int]:
    """What is pinned at path, open for the length of a with block."""
    fd = open_pin(path)
    try:
        yield fd
    finally:
        os.close(fd)


def object_info(fd: int, size: int, what: str) -> bytes:
    """The first bytes of the kernel's description of an object."""
    info = ctypes.create_string_buffer(size)
    bpf(Command.OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", fd, size, address(info)), what)
    return info.raw


def map_info(fd: int, what: str) -> MapInfo:
    """An open map (struct bpf_map_info)."""
    raw = object_info(fd, 80, what)
    kind, key_size, value_size, max_entries, flags = struct.unpack_from("=I4xIIII", raw)
    return MapInfo(
        key_size, value_size, max_entries, kind, flags, *struct.unpack_from("=III", raw, 64)
    )


def link_info(fd: int, what: str) -> LinkInfo:
    """An open link to a cgroup or netns (struct bpf_link_info)."""
    raw = object_info(fd, 32, what)
    kind, _link_id, program = struct.unpack_from("=III", raw)
    if kind == LINK_TYPE_NETNS:
        return LinkInfo(program, *struct.unpack_from("=I", raw, 16))
    return LinkInfo(program, *struct.unpack_from("=Q", raw, 16))


def program_id(fd: int, what: str) -> int:
    """The kernel's number of an open program (struct bpf_prog_info)."""
    return int(struct.unpack_from("=4xI", object_info(fd, 8, what))[0])


def open_program(number: int, what: str) -> int:
    """A file descriptor for a program by its number, pinned or not."""
    return bpf(Command.PROG_GET_FD_BY_ID, struct.pack("=III", number, 0, 0), what)


def create_map(
    kind: int,
    sizes: tuple[int, int],
    entries: int,
    what: str,
    *,
    flags: int = 0,
    types: Types = NO_TYPES,
) -> int:
    """A new map; sizes: of a key and a value."""
    name = what.encode()[: NAME_SIZE - 1]
    attributes = struct.pack(
        "=IIIIIII16sIIII",
        *(kind, *sizes, entries, flags, 0, 0),
        *(name, 0, types.fd, types.key, types.value),
    )
    return bpf(Command.MAP_CREATE, attributes, what)


def load_types(btf: bytes, what: str) -> int:
    """A new BTF object from its raw form."""
    raw = ctypes.create_string_buffer(btf, len(btf))
    attributes = struct.pack("=QQIII4x", address(raw), 0, len(btf), 0, 0)
    return bpf(Command.BTF_LOAD, attributes, what)


def types_by_id(number: int, what: str) -> bytes:
    """A BTF object's raw form (struct bpf_btf_info), by the kernel's number."""
    fd = bpf(Command.BTF_GET_FD_BY_ID, struct.pack("=III", number, 0, 0), what)
    try:
        (size,) = struct.unpack_from("=8xI", object_info(fd, 16, what))
        raw = ctypes.create_string_buffer(size)
        info = ctypes.create_string_buffer(struct.pack("=QII", address(raw), size, 0), 16)
        bpf(Command.OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", fd, 16, address(info)), what)
    finally:
        os.close(fd)
    return raw.raw


def create_link(program: int, target: int, attach_type: AttachType, what: str) -> int:
    """Attach a program to an open cgroup directory or netns file."""
    attributes = struct.pack("=IIII", program, target, attach_type, 0)
    return bpf(Command.LINK_CREATE, attributes, what)


def update_link(link: int, program: int, what: str) -> None:
    """Replace a link's program; there is no moment without one."""
    bpf(Command.LINK_UPDATE, struct.pack("=IIII", link, program, 0, 0), what)


def attach_to_map(program: int, sockets: int, attach_type: AttachType, what: str) -> None:
    """Make an open program the one of an open map of sockets, in place of another."""
    attributes = struct.pack("=IIII", sockets, program, attach_type, 0)
    bpf(Command.PROG_ATTACH, attributes, what)


def detach_link(link: int, what: str) -> None:
    """Take a link's program off its target now, whoever holds the link."""
    bpf(Command.LINK_DETACH, struct.pack("=I4x", link), what)


def load_program(
    kind: ProgType,
    attach: AttachType,
    code: bytes,
    what: str,
    log: ctypes.Array[ctypes.c_char] | None = None,
) -> int:
    """A new program from its instructions, 8 bytes each; log: for the verifier's words."""
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"GPL")
    told = (1, len(log), address(log)) if log is not None else (0, 0, 0)
    attributes = struct.pack(
        "=IIQQIIQII16sIi",
        *(kind, len(code) // 8, address(instructions), address(licence), *told),
        *(0, 0, what.encode()[: NAME_SIZE - 1], 0, attach),
    )
    return bpf(Command.PROG_LOAD, attributes, what)


def run_program(program: int, data: bytes, what: str) -> tuple[int, bytes]:
    """Run an open program of SCHED_CLS on data; what it returns, and its data then.

    data: 14 bytes and more, which the kernel takes for a packet.
    """
    before = ctypes.create_string_buffer(data, len(data))
    after = ctypes.create_string_buffer(len(data))
    size = len(data)
    attributes = bytearray(
        struct.pack("=IIIIQQII", program, 0, size, size, address(before), address(after), 1, 0)
    )
    bpf(Command.PROG_TEST_RUN, attributes, what)
    return int(struct.unpack_from("=4xI", attributes)[0]), after.raw


def wait_for_programs() -> None:
    """Return when every program that runs now has ended: an RCU grace period.

    membarrier(2) waits for one, but where CPUs run without a clock tick (nohz_full):
    there this returns at once.
    """
    LIBC.syscall(MEMBARRIER[platform.machine()], MEMBARRIER_CMD_GLOBAL, 0, 0)
