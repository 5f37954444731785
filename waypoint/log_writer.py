"""Writes the access log to a file descriptor without ever waiting for it."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import socket
import stat
from collections.abc import Callable

from waypoint.stats import Stats

logger = logging.getLogger(__name__)

#: Lines wait this long for company, unless there are FLUSH_BYTES of them.
FLUSH_SECONDS = 0.05
FLUSH_BYTES = 64 * 1024
#: What a reader that doesn't keep up may make us hold; lines beyond it are dropped.
PENDING_MOST = 1 << 20


def writer_to(descriptor: int) -> Callable[[bytes], int]:
    """A write that returns how much was taken, 0 instead of waiting.

    A pipe or terminal is opened anew, because O_NONBLOCK belongs to the open
    file, which others may share; a regular file never makes one wait long.
    """
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        connection = socket.socket(fileno=os.dup(descriptor))
        return lambda data: taken(lambda: connection.send(data, socket.MSG_DONTWAIT))
    target = descriptor
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        path = f"/proc/self/fd/{descriptor}"
        try:
            target = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            logger.warning("access log: %s can't be opened anew: %s", path, error)
    if stat.S_ISFIFO(mode):
        return whole_lines(lambda data: taken(lambda: os.write(target, data)))
    return lambda data: taken(lambda: os.write(target, data))


def taken(write: Callable[[], int]) -> int:
    """How much a write took: nothing when it would have waited."""
    try:
        return write()
    except BlockingIOError:
        return 0


def whole_lines(write: Callable[[bytes], int]) -> Callable[[bytes], int]:
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


class LogWriter:
    """Collects lines and writes them together, about twenty times a second."""

    def __init__(
        self, write: Callable[[bytes], int], stats: Stats, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.write = write
        self.stats = stats
        self.loop = loop
        self.lines: list[str] = []
        self.size = 0
        #: What the descriptor hasn't taken yet.
        self.pending = b""
        self.timer: asyncio.TimerHandle | None = None

    def add(self, line: str) -> None:
        """Take a line, or drop and count it when too much is waiting."""
        if self.size + len(self.pending) > PENDING_MOST:
            self.stats.access_log_dropped += 1
            return
        self.lines.append(line)
        self.size += len(line)
        if self.timer is None:
            self.timer = self.loop.call_later(FLUSH_SECONDS, self.flush)
        elif self.size > FLUSH_BYTES and not self.pending:
            self.flush()

    def flush(self) -> None:
        """Write what there is; what isn't taken waits for the next time."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        data = self.pending + "".join(self.lines).encode("latin-1", "replace")
        self.lines.clear()
        self.size = 0
        try:
            self.pending = data[self.write(data) :]
        except OSError as error:
            # The reader is gone: there is nobody to tell, on this descriptor.
            self.stats.access_log_dropped += data.count(b"\n")
            self.pending = b""
            logger.warning("access log: %s", error)
        if self.pending:
            self.timer = self.loop.call_later(FLUSH_SECONDS, self.flush)
