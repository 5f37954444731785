"""Makes TCP sockets where it runs, and hands them out.

    python3 -I -S socketmaker.py <fd>

Run by path, in a cgroup and netns of its own: a socket belongs to those of the
process that made it, whoever uses it afterwards. Standard library only. Each byte
that arrives at the file descriptor, 4 or 6, is answered with a socket.
"""

from __future__ import annotations

import socket
import sys

FAMILIES = {b"4": socket.AF_INET, b"6": socket.AF_INET6}


def serve(channel: socket.socket) -> None:
    """Answer until the other end is closed."""
    while asked := channel.recv(1):
        with socket.socket(FAMILIES[asked], socket.SOCK_STREAM) as made:
            socket.send_fds(channel, [asked], [made.fileno()])


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
