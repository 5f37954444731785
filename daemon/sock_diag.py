"""TCP and UDP sockets of a network namespace, by sock_diag: listed and closed.

man 7 sock_diag; struct inet_diag_req_v2 and inet_diag_msg of linux/inet_diag.h.
Everything here blocks.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

NETLINK_SOCK_DIAG: Final = 4
SOCK_DIAG_BY_FAMILY: Final = 20
SOCK_DESTROY: Final = 21
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLM_F_REQUEST: Final = 1
NLM_F_ACK: Final = 4
NLM_F_DUMP: Final = 0x300
INET_DIAG_INFO: Final = 2
ROOM: Final = 1 << 17
V4_MAPPED: Final = bytes(10) + b"\xff\xff"

HEADER = struct.Struct("=IHHII")
REQUEST = struct.Struct("=BBBxI48s")
ATTRIBUTE = struct.Struct("=HH")
#: struct tcp_info: tcpi_bytes_acked and tcpi_bytes_received.
BYTES = struct.Struct("=QQ")
BYTES_OFFSET: Final = 120
#: family, state, then the socket's id: ports, addresses, interface, cookie.
MESSAGE = struct.Struct("=BBxx48s")
IDENTIFIER = struct.Struct("!HH16s16s")
ERROR = struct.Struct("=i")
INODE = struct.Struct("=I")
#: After the identifier: expires, two queues' lengths, the owner's uid; attributes follow.
INODE_OFFSET: Final = 16
ATTRIBUTES_OFFSET: Final = 20


class TcpState(IntEnum):
    """States of a TCP socket (net/tcp_states.h)."""

    ESTABLISHED = 1
    SYN_SENT = 2
    SYN_RECV = 3
    FIN_WAIT1 = 4
    FIN_WAIT2 = 5
    CLOSE_WAIT = 8
    LAST_ACK = 9
    LISTEN = 10
    CLOSING = 11
    NEW_SYN_RECV = 12


#: Connections that can still carry something to this end.
OPEN: Final = (
    TcpState.ESTABLISHED,
    TcpState.SYN_RECV,
    TcpState.FIN_WAIT1,
    TcpState.FIN_WAIT2,
    TcpState.CLOSE_WAIT,
    TcpState.NEW_SYN_RECV,
)
#: Sockets that have a connection, or are about to.
CONNECTED: Final = (
    TcpState.ESTABLISHED,
    TcpState.SYN_SENT,
    TcpState.SYN_RECV,
    TcpState.FIN_WAIT1,
    TcpState.FIN_WAIT2,
    TcpState.CLOSE_WAIT,
    TcpState.LAST_ACK,
    TcpState.CLOSING,
)


@dataclass(frozen=True, slots=True)
class Socket:
    """One socket; addresses are packed (4 or 16 bytes, never mapped).

    family, identifier: as the kernel names it; inode: as its processes' files do;
    acked, received: bytes as TCP counts them, where they were asked for.
    """

    state: int
    local: bytes
    local_port: int
    remote: bytes
    remote_port: int
    family: int
    identifier: bytes
    inode: int = 0
    acked: int = 0
    received: int = 0

    def payload(self) -> tuple[int, int]:
        """Bytes of payload sent and received: never more, perhaps one less.

        TCP counts the SYN, and FINs, which may be in it once it isn't established.
        """
        fin = self.state != TcpState.ESTABLISHED
        return max(0, self.acked - 1 - fin), max(0, self.received - fin)


class SockDiag:
    """A socket to sock_diag; threads take turns. Raises OSError.

    It is of the namespace that the calling thread is in, which it keeps alive.
    protocol: TCP, or UDP, whose connected sockets are ESTABLISHED.
    """

    def __init__(self, protocol: int = socket.IPPROTO_TCP) -> None:
        self.protocol = protocol
        self.netlink = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG
        )
        self.netlink.bind((0, 0))
        self.turn = threading.Lock()
        self.asked = 0

    def close(self) -> None:
        """Close it; waits for an answer that is coming in."""
        with self.turn:
            self.netlink.close()

    def dump(self, *states: TcpState, counted: bool = False) -> list[Socket]:
        """The sockets in these states, of both families; counted: with TCP's bytes.

        A socket that is there before and after is among them: the kernel walks its
        table a bucket at a time, and a socket stays in its own.
        """
        mask = sum(1 << state for state in states)
        with self.turn:
            return [
                found
                for family in (socket.AF_INET, socket.AF_INET6)
                for found in self.of_family(family, mask, counted)
            ]

    def of_family(self, family: int, mask: int, counted: bool) -> Iterator[Socket]:
        """One family's sockets in the states of a mask."""
        extensions = 1 << (INET_DIAG_INFO - 1) if counted else 0
        body = REQUEST.pack(family, self.protocol, extensions, mask, bytes(48))
        self.send(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, body)
        while True:
            for kind, content in self.answers():
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    raise_error(content)
                yield parsed(content)

    def destroy(self, found: Socket) -> bool:
        """Close a connection, its peer gets a reset; whether it was there still."""
        body = REQUEST.pack(found.family, self.protocol, 0, 0xFFFFFFFF, found.identifier)
        with self.turn:
            self.send(SOCK_DESTROY, NLM_F_ACK, body)
            for kind, content in self.answers():
                if kind == NLMSG_ERROR and ERROR.unpack_from(content)[0]:
                    if -ERROR.unpack_from(content)[0] == errno.ENOENT:
                        return False
                    raise_error(content)
        return True

    def send(self, kind: int, flags: int, body: bytes) -> None:
        """Send a request."""
        self.asked += 1
        head = HEADER.pack(
            HEADER.size + len(body), kind, flags | NLM_F_REQUEST, self.asked & 0xFFFFFFFF, 0
        )
        self.netlink.send(head + body)

    def answers(self) -> list[tuple[int, bytes]]:
        """Some answers to the last request: types and bodies."""
        while True:
            found = [
                (kind, body)
                for kind, number, body in messages(self.netlink.recv(ROOM))
                if number == self.asked & 0xFFFFFFFF  # not of a dump that was given up
            ]
            if found:
                return found


def messages(datagram: bytes) -> Iterator[tuple[int, int, bytes]]:
    """A datagram's messages: types, numbers of the requests, bodies."""
    offset = 0
    while offset + HEADER.size <= len(datagram):
        length, kind, _flags, number, _port = HEADER.unpack_from(datagram, offset)
        yield kind, number, datagram[offset + HEADER.size : offset + length]
        offset += max(HEADER.size, (length + 3) & ~3)


def raise_error(body: bytes) -> None:
    """Raise the OSError that the kernel answers with."""
    number = -ERROR.unpack_from(body)[0]
    raise OSError(number, f"sock_diag: {os.strerror(number)}")


def parsed(body: bytes) -> Socket:
    """A socket's description."""
    family, state, identifier = MESSAGE.unpack_from(body)
    local_port, remote_port, local, remote = IDENTIFIER.unpack_from(identifier)
    return Socket(
        state,
        address(family, local),
        local_port,
        address(family, remote),
        remote_port,
        family,
        identifier,
        INODE.unpack_from(body, MESSAGE.size + INODE_OFFSET)[0],
        *counts(body),
    )


def counts(body: bytes) -> tuple[int, int]:
    """Bytes acknowledged and received, of a description that has them."""
    offset = MESSAGE.size + ATTRIBUTES_OFFSET
    while offset + ATTRIBUTE.size <= len(body):
        length, kind = ATTRIBUTE.unpack_from(body, offset)
        if kind == INET_DIAG_INFO and length >= 4 + BYTES_OFFSET + BYTES.size:
            acked, received = BYTES.unpack_from(body, offset + 4 + BYTES_OFFSET)
            return acked, received
        offset += max(4, (length + 3) & ~3)
    return 0, 0


def address(family: int, raw: bytes) -> bytes:
    """An address of 16 bytes as packed, a mapped one as IPv4."""
    if family == socket.AF_INET:
        return raw[:4]
    return raw.removeprefix(V4_MAPPED)
