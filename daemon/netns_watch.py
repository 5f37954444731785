"""Tells when a network namespace ends, without keeping it alive.

The kernel gives a netns that it is asked about an id (NSID) within ours, and
says over rtnetlink when the netns behind an id is gone: an open file
descriptor would hold a dead pod's netns, and inode numbers are used again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Final

RTM_NEWNSID: Final = 88
RTM_DELNSID: Final = 89
RTM_GETNSID: Final = 90
NLMSG_ERROR: Final = 2
NLM_F_REQUEST: Final = 1
NLM_F_ACK: Final = 4
NETNSA_NSID: Final = 1
NETNSA_FD: Final = 3
ASSIGN: Final = -1
SOL_NETLINK: Final = 270
NETLINK_ADD_MEMBERSHIP: Final = 1
RTNLGRP_NSID: Final = 28

HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HHi")
GENERIC: Final = bytes(4)


class NetnsWatch:
    """Watches network namespaces by the ids that they have in our own.

    ended: called in the event loop with the id, once, when a watched one ends.
    """

    def __init__(self, ended: Callable[[int], None]) -> None:
        self.ended = ended
        self.watched: set[int] = set()
        self.requests = netlink_socket()
        self.events = netlink_socket()
        self.events.setblocking(False)
        self.events.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_NSID)
        asyncio.get_running_loop().add_reader(self.events, self.read)

    def close(self) -> None:
        """Stop watching."""
        asyncio.get_running_loop().remove_reader(self.events)
        self.events.close()
        self.requests.close()

    def watch(self, netns_fd: int) -> int:
        """Watch the netns of an open file until it ends; its id. OSError if it is none."""
        try:
            self.request(RTM_NEWNSID, (NETNSA_FD, netns_fd), (NETNSA_NSID, ASSIGN))
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
        number = self.request(RTM_GETNSID, (NETNSA_FD, netns_fd))
        # An id is used again: what is still to be read is about its last owner.
        self.read()
        self.watched.add(number)
        return number

    def alive(self, number: int) -> bool:
        """Whether the netns that was given this id when it was watched is there."""
        self.read()
        return number in self.watched

    def read(self) -> None:
        """Take in what the kernel has said so far."""
        while True:
            try:
                datagram = self.events.recv(65536)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                for number in [n for n in self.watched if not self.exists(n)]:
                    self.end(number)
                continue
            for kind, number in messages(datagram):
                if kind == RTM_DELNSID:
                    self.end(number)

    def end(self, number: int) -> None:
        """A netns ended."""
        if number in self.watched:
            self.watched.remove(number)
            self.ended(number)

    def exists(self, number: int) -> bool:
        """Whether any netns has this id."""
        with contextlib.suppress(FileNotFoundError):
            self.request(RTM_GETNSID, (NETNSA_NSID, number))
            return True
        return False

    def request(self, kind: int, *attributes: tuple[int, int]) -> int:
        """Ask the kernel; the id in its answer, or -1. Raises OSError."""
        payload = GENERIC + b"".join(ATTRIBUTE.pack(8, name, n) for name, n in attributes)
        flags = NLM_F_REQUEST | (NLM_F_ACK if kind == RTM_NEWNSID else 0)
        self.requests.send(HEADER.pack(HEADER.size + len(payload), kind, flags, 1, 0) + payload)
        for answer, number in messages(self.requests.recv(65536)):
            if answer == NLMSG_ERROR and number:
                raise OSError(-number, os.strerror(-number))
            return number
        return ASSIGN


def netlink_socket() -> socket.socket:
    """A socket to rtnetlink in this thread's netns."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    sock.bind((0, 0))
    return sock


def messages(datagram: bytes) -> list[tuple[int, int]]:
    """Types of a datagram's messages, each with its id (an error's: its errno)."""
    found = []
    offset = 0
    while offset + HEADER.size <= len(datagram):
        length, kind, *_ = HEADER.unpack_from(datagram, offset)
        body = datagram[offset + HEADER.size : offset + length]
        if kind == NLMSG_ERROR:
            found.append((kind, struct.unpack_from("=i", body)[0]))
        else:
            found.append((kind, nsid(body[len(GENERIC) :])))
        offset += max(HEADER.size, (length + 3) & ~3)
    return found


def nsid(attributes: bytes) -> int:
    """The id among a message's attributes, or -1."""
    offset = 0
    while offset + ATTRIBUTE.size <= len(attributes):
        length, name, number = ATTRIBUTE.unpack_from(attributes, offset)
        if name == NETNSA_NSID:
            return int(number)
        offset += max(4, (length + 3) & ~3)
    return ASSIGN
