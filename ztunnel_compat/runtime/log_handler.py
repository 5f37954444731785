"""A handler for logging that never waits for whoever reads the log.

A pipe that nobody reads would stop the process at its next line: here lines wait, up to
a bound, and those beyond it are dropped, counted, and told of once there is room again.
"""

from __future__ import annotations

import asyncio
import logging
import select
import time
from typing import Final

from ztunnel_compat.runtime.descriptors import Write, writer_to

#: Bytes that may wait for a reader.
PENDING_MOST: Final = 256 * 1024
#: Between two tries to get rid of them, where no line comes that tries too.
RETRY_SECONDS: Final = 0.5
#: How long the end of the process may wait for a reader.
LAST_SECONDS: Final = 1.0


class PatientHandler(logging.Handler):
    """Writes lines to a file descriptor as it takes them. dropped: lines lost so far."""

    def __init__(self, descriptor: int, most: int = PENDING_MOST) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.most = most
        self.write: Write = writer_to(descriptor)
        self.pending = b""
        self.dropped = 0
        #: Of which lines the log doesn't say yet that they are missing.
        self.untold = 0
        #: The loop that tries again soon.
        self.waiting: asyncio.AbstractEventLoop | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, keep it for later, or drop it."""
        line = f"{self.format(record)}\n".encode("utf-8", "backslashreplace")
        if self.pending:
            self.push()
        if self.untold and len(self.pending) + len(line) <= self.most // 2:
            missing = self.untold
            self.untold = 0
            text = f"{missing} lines are missing here: nobody read them in time"
            more = logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None)
            line = f"{self.format(more)}\n".encode() + line
        if len(self.pending) + len(line) > self.most:
            self.dropped += 1
            self.untold += 1
        else:
            self.pending += line
        self.push()

    def push(self) -> None:
        """Write what is taken now; what isn't is tried again soon, or with the next line."""
        try:
            self.pending = self.pending[self.write(self.pending) :]
        except OSError:
            # The reader is gone: there is nobody to tell.
            self.dropped += self.pending.count(b"\n")
            self.pending = b""
        if self.pending:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                return  # in a thread, or at the end
            if self.waiting is not loop:
                self.waiting = loop
                loop.call_later(RETRY_SECONDS, self.retry)

    def retry(self) -> None:
        """Try again; called by the loop."""
        self.acquire()
        try:
            self.waiting = None
            self.push()
        finally:
            self.release()

    def flush(self) -> None:
        """Nothing: lines are written as they come; see ``close``."""

    def close(self) -> None:
        """Write what is left, as far as somebody reads it in time."""
        deadline = time.monotonic() + LAST_SECONDS
        ready = select.poll()
        ready.register(self.descriptor, select.POLLOUT)
        while self.pending and (left := deadline - time.monotonic()) > 0:
            ready.poll(left * 1000)
            self.push()
        super().close()
