"""Network namespaces: their cookies, and work inside them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Iterator

from bpf import kernel
from bpf.errors import NetnsError

CLONE_NEWNET = 0x40000000
SO_NETNS_COOKIE = 71  # since Linux 5.14


@contextlib.contextmanager
def in_netns(netns_fd: int) -> Iterator[None]:
    """Run a with block in another network namespace.

    Only the calling thread moves, so nothing in the block may await or hand work
    to another thread. Sockets made in it stay there. Raises NetnsError.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            enter(netns_fd)
        except OSError as error:
            raise NetnsError(f"netns of fd {netns_fd} can't be entered: {error}") from None
        try:
            yield
        finally:
            enter(home)
    finally:
        os.close(home)


def enter(fd: int) -> None:
    """Move the calling thread to a network namespace; raises OSError."""
    if kernel.LIBC.setns(fd, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def netns_cookie(netns_fd: int) -> int:
    """The number by which kernel programs know a network namespace."""
    with in_netns(netns_fd), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            raw = asking.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
        except OSError as error:
            raise NetnsError(f"netns of fd {netns_fd} has no cookie: {error}") from None
    return int(struct.unpack("=Q", raw)[0])
