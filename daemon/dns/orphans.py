"""Questions that a node agent was killed with.

A resolver sends on the same socket again after five seconds, and glibc takes a
second silence, or a refused datagram, for "no such name". Closed, its socket tells
it so at once (ECONNABORTED), and it asks on a new one.
"""

from __future__ import annotations

import socket
from contextlib import closing

from bpf.netns import in_netns
from daemon.dns.sockets import LOOPBACKS, PORT
from daemon.sock_diag import SockDiag, Socket, TcpState

OURS = {socket.inet_pton(family, address) for family, address in LOOPBACKS}


def close_orphans(netns_fd: int) -> int:
    """Close a pod's UDP sockets that asked who answers no more; how many; blocks.

    To be called before our own sockets are opened: until then, whoever connects is
    sent to the cluster DNS. A predecessor that ends in good order still answers what
    it was asked; its own sockets tell that it is there. Raises OSError, NetnsError.
    """
    with in_netns(netns_fd), closing(SockDiag(socket.IPPROTO_UDP)) as diag:
        asking = [found for found in diag.dump(TcpState.ESTABLISHED) if to_us(found)]
        if any(found.local_port == PORT for found in asking):
            return 0
        return sum(diag.destroy(found) for found in asking)


def to_us(found: Socket) -> bool:
    """Whether a socket is connected to where we listen."""
    return found.remote_port == PORT and found.remote in OURS
