"""The sockets that a pod's tunnels begin and end at, inside its network namespace."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bpf.layout import TunnelPort
from bpf.netns import in_netns
from daemon.errors import EnrollError
from daemon.tunnel.sockets import tune

#: Where the connect hook sends what goes on by HBONE.
OUTBOUND_ADDRESSES: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
HBONE_ADDRESSES: Final = ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))
#: Connections wait here for as long as one node agent takes over from another.
BACKLOG: Final = 4096
KIND: Final = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
#: linux/in.h and linux/in6.h: whether lo is up when a pod is enrolled depends on who
#: makes the pod.
IP_FREEBIND: Final = 15
IPV6_FREEBIND: Final = 78


@dataclass(frozen=True, slots=True)
class Listeners:
    """Listening sockets of one network namespace.

    outbound: at ``OUTBOUND_ADDRESSES``, of its own connections; hbone: on all of its
    addresses, of tunnels from other nodes.
    """

    outbound: tuple[socket.socket, ...]
    hbone: tuple[socket.socket, ...]

    def __iter__(self) -> Iterator[socket.socket]:
        yield from self.outbound
        yield from self.hbone

    def close(self) -> None:
        """Close all; connections that nobody took are reset."""
        for listener in self:
            listener.close()


def open_listeners(netns_fd: int) -> Listeners:
    """Listen in a network namespace; a machine without IPv6 has only IPv4's.

    Raises EnrollError when something else listens there, OSError, NetnsError.
    """
    with contextlib.ExitStack() as undo, in_netns(netns_fd):
        outbound, hbone = (
            tuple(
                undo.enter_context(listen(family, address, port))
                for family, address in places
                if has(family)
            )
            for places, port in (
                (OUTBOUND_ADDRESSES, TunnelPort.OUTBOUND),
                (HBONE_ADDRESSES, TunnelPort.HBONE),
            )
        )
        undo.pop_all()
    return Listeners(outbound, hbone)


def has(family: socket.AddressFamily) -> bool:
    """Whether the kernel has a family here."""
    try:
        socket.socket(family, KIND).close()
    except OSError:
        return False
    return True


def listen(family: socket.AddressFamily, address: str, port: TunnelPort) -> socket.socket:
    """One listening socket; raises EnrollError when the port is taken, OSError."""
    listener = socket.socket(family, KIND)
    try:
        # Connections that a predecessor left may be open, or in TIME_WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        else:
            listener.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        tune(listener)
        listener.bind((address, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise EnrollError(
            f"port {port.value} is taken by a program there: the mesh needs it for "
            f"{port.name.lower()} tunnels; have the program listen on another port"
        ) from error
    return listener
