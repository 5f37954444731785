"""Writes the access log without ever waiting for whoever reads it."""

from __future__ import annotations

import asyncio
import logging

from waypoint.stats import Stats
from ztunnel_compat.runtime.descriptors import Write

logger = logging.getLogger(__name__)

#: Lines wait this long for company, unless there are FLUSH_BYTES of them.
FLUSH_SECONDS = 0.05
FLUSH_BYTES = 64 * 1024
#: What a reader that doesn't keep up may make us hold; lines beyond it are dropped.
PENDING_MOST = 1 << 20


class LogWriter:
    """Collects lines and writes them together, about twenty times a second.

    on: lines are wanted at all; whoever makes one asks first.
    """

    def __init__(
        self,
        write: Write,
        stats: Stats,
        loop: asyncio.AbstractEventLoop,
        *,
        on: bool = True,
    ) -> None:
        self.on = on
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
