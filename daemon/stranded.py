"""Closes UDP sockets that are connected to an endpoint that is gone.

The hooks choose anew at each sendto(), but a connected socket was asked about once:
it would send into the void for ever. Closed, its program sees an error (ECONNABORTED),
connects again, and is given another endpoint; QUIC clients and resolvers do so.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Iterable
from contextlib import closing

from bpf.addresses import mapped
from bpf.errors import BpfError
from bpf.layout import Reply, ReplyKey
from bpf.netns import in_netns
from bpf.tables import Table
from daemon.sock_diag import SockDiag, TcpState

logger = logging.getLogger(__name__)

#: Where the kernel's number of a socket stands in what sock_diag calls it.
COOKIE = struct.Struct("=Q")
COOKIE_OFFSET = 40


class Stranded:
    """Looks for such sockets by the answers that the hooks translate for them."""

    def __init__(self, replies: Table[ReplyKey, Reply]) -> None:
        self.replies = replies
        self.closed = 0

    def close_all(self, gone: set[bytes], netns_fds: Iterable[int]) -> None:
        """Close those connected to addresses (16 bytes) that are gone; blocks.

        netns_fds: network namespaces of pods; they are closed at the end.
        """
        keys = [key for key, _ in self.replies.items() if key.address in gone]
        cookies = {key.cookie for key in keys}
        closed = 0
        for fd in netns_fds:
            try:
                if cookies:
                    closed += close_connected(fd, gone, cookies)
            except (BpfError, OSError) as error:
                logger.error("UDP sockets of a pod can't be closed: %s", error)
            finally:
                os.close(fd)
        for key in keys:
            self.replies.delete(key)
        self.closed += closed
        if closed:
            logger.info("closed %d UDP sockets whose endpoint is gone", closed)


def close_connected(netns_fd: int, gone: set[bytes], cookies: set[int]) -> int:
    """Close a network namespace's; how many there were."""
    with in_netns(netns_fd), closing(SockDiag(socket.IPPROTO_UDP)) as diag:
        return sum(
            diag.destroy(found)
            for found in diag.dump(TcpState.ESTABLISHED)
            if mapped(found.remote) in gone
            and COOKIE.unpack_from(found.identifier, COOKIE_OFFSET)[0] in cookies
        )
