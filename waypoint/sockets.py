"""What has to be asked of, or done to, a connection's socket itself."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct

from waypoint.cluster_settings import Keepalive
from ztunnel_compat.peer import PEER_QUERY_LEVEL, PEER_QUERY_OPTION

logger = logging.getLogger(__name__)

#: Room for an answer of a newer kernel part than this one.
ANSWER_ROOM = 128
#: linger on, for zero seconds: close() sends a reset.
NO_LINGER = struct.pack("ii", 1, 0)
#: Where to listen, by family and whether on loopback alone.
HOSTS = {
    (socket.AF_INET, False): "0.0.0.0",
    (socket.AF_INET6, False): "::",
    (socket.AF_INET, True): "127.0.0.1",
    (socket.AF_INET6, True): "::1",
}


def peer_of(connection: socket.socket) -> bytes | None:
    """The kernel's answer to who made this connection, or None: it doesn't know."""
    try:
        return connection.getsockopt(PEER_QUERY_LEVEL, PEER_QUERY_OPTION, ANSWER_ROOM)
    except OSError:
        return None


def reset(transport: asyncio.Transport) -> None:
    """Close a connection so that its other end sees an error, not an end."""
    # A stream has no socket of its own: its abort() is a reset already.
    connection = transport.get_extra_info("socket")
    if connection is not None and not transport.is_closing():
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        except OSError:
            # It is gone already.
            pass
    transport.abort()


def keep_alive(transport: asyncio.Transport, keepalive: Keepalive | None) -> None:
    """Have the system ask a silent peer whether it is there; None: don't.

    A connection through a tunnel has no socket of its own: the tunnel has.
    """
    connection = transport.get_extra_info("socket")
    if keepalive is None or connection is None:
        return
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            (socket.TCP_KEEPCNT, keepalive.probes),
            (socket.TCP_KEEPIDLE, keepalive.time),
            (socket.TCP_KEEPINTVL, keepalive.interval),
        ):
            if value is not None:
                connection.setsockopt(socket.IPPROTO_TCP, option, value)
    except OSError as error:
        # It is gone already, or the system takes no such number.
        logger.warning("tcp_keepalive %s: %s", keepalive, error)


def show_address(address: tuple[str, int] | tuple[str, int, int, int] | None) -> str:
    """``1.2.3.4:80`` or ``[::1]:80``; ``-`` for none."""
    if not address:
        return "-"
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listen(
    family: socket.AddressFamily, port: int, backlog: int, *, loopback: bool = False
) -> socket.socket:
    """A listening socket on all addresses of a family, shared among processes.

    loopback: on that one alone.
    """
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setblocking(False)
        listener.bind((HOSTS[family, loopback], port))
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener
