"""The sockets inside a pod's network namespace."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from typing import Final

from bpf.netns import in_netns

#: Where the kernel programs send what pods ask of the cluster DNS.
PORT: Final = 15053
LOOPBACKS: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
BACKLOG: Final = 64
KIND_FLAGS: Final = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
#: linux/in.h and linux/in6.h: an address may be bound that isn't there yet. Whether
#: lo is up when a pod is enrolled depends on who makes the pod.
IP_FREEBIND: Final = 15
IPV6_FREEBIND: Final = 78


@dataclass(frozen=True, slots=True)
class Sockets:
    """A UDP and a listening TCP socket per family."""

    udp: tuple[socket.socket, ...]
    tcp: tuple[socket.socket, ...]


def open_sockets(netns_fd: int) -> Sockets:
    """Listen in a network namespace; raises OSError, NetnsError.

    A machine without IPv6 has only IPv4's.
    """
    udp: list[socket.socket] = []
    tcp: list[socket.socket] = []
    with contextlib.ExitStack() as undo, in_netns(netns_fd):
        for family, address in families():
            for made, kind in ((udp, socket.SOCK_DGRAM), (tcp, socket.SOCK_STREAM)):
                opened = undo.enter_context(socket.socket(family, kind | KIND_FLAGS))
                bind(opened, address)
                made.append(opened)
            tcp[-1].listen(BACKLOG)
        undo.pop_all()
    return Sockets(tuple(udp), tuple(tcp))


def families() -> list[tuple[socket.AddressFamily, str]]:
    """The families that the kernel has, and what is ours in each."""
    found = []
    for family, address in LOOPBACKS:
        with contextlib.suppress(OSError):
            socket.socket(family, socket.SOCK_DGRAM).close()
            found.append((family, address))
    return found


def bind(opened: socket.socket, address: str) -> None:
    """Bind a socket to our port."""
    if opened.family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
    else:
        opened.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    if opened.type == socket.SOCK_STREAM:
        # A predecessor's connections may still be open, or in TIME_WAIT.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    else:
        # A predecessor's diverted socket stays until what it was asked is answered.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    opened.bind((address, PORT))


def divert(opened: socket.socket) -> None:
    """Have a UDP socket get nothing more; what it holds can still be read.

    A connected socket takes datagrams from its peer only, which is itself here;
    the kernel programs find no listener any more.
    """
    with contextlib.suppress(OSError):  # its address isn't there: nothing came
        opened.connect(opened.getsockname())
