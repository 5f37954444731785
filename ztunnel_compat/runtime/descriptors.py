"""Writes to a file descriptor without ever waiting for whoever reads it."""

from __future__ import annotations

import os
import select
import socket
import stat
from collections.abc import Callable

#: Writes what it can, and says how much that was: 0 instead of waiting.
Write = Callable[[bytes], int]


def writer_to(descriptor: int) -> Write:
    """A write that returns how much was taken, 0 instead of waiting.

    A pipe or terminal is opened anew, because O_NONBLOCK belongs to the open
    file, which others may share; where that isn't allowed, it is written to only while
    there is room. A regular file never makes one wait long.
    """
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        connection = socket.socket(fileno=os.dup(descriptor))
        return lambda data: taken(lambda: connection.send(data, socket.MSG_DONTWAIT))
    if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
        return lambda data: taken(lambda: os.write(descriptor, data))
    try:
        path = f"/proc/self/fd/{descriptor}"
        target = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return whole_lines(lambda data: os.write(descriptor, data) if room(descriptor) else 0)
    if stat.S_ISFIFO(mode):
        return whole_lines(lambda data: taken(lambda: os.write(target, data)))
    return lambda data: taken(lambda: os.write(target, data))


def room(descriptor: int) -> bool:
    """Whether PIPE_BUF bytes would be taken at once."""
    asked = select.poll()
    asked.register(descriptor, select.POLLOUT)
    return bool(asked.poll(0))


def taken(write: Callable[[], int]) -> int:
    """How much a write took: nothing when it would have waited."""
    try:
        return write()
    except BlockingIOError:
        return 0


def whole_lines(write: Write) -> Write:
    """Write to a pipe so that lines of several processes don't mix.

    What has PIPE_BUF bytes at most is written as a whole, or not at all (pipe(7)).
    """

    def write_lines(data: bytes) -> int:
        done = 0
        while done < len(data):
            end = done + select.PIPE_BUF
            if end < len(data):
                end = data.rfind(b"\n", done, end) + 1 or end
            part = data[done:end]
            count = write(part)
            done += count
            if count < len(part):
                break
        return done

    return write_lines
