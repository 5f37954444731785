"""Log lines as ztunnel writes them, so that one parser reads both.

``<RFC 3339 time>\t<level>\t<scope>\t<message>``, scope being the logger's name.
"""

from __future__ import annotations

import io
import logging
import sys
from datetime import UTC, datetime
from functools import lru_cache
from typing import TextIO

from ztunnel_compat.runtime.log_handler import PatientHandler

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
NAMES = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warn",
    logging.ERROR: "error",
    logging.CRITICAL: "error",
}
#: Tabs stay: they separate the fields of access-log lines.
CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\t",
}


def stamp(seconds: float) -> str:
    """A moment as every line begins with it: UTC with microseconds."""
    whole, microseconds = divmod(round(seconds * 1_000_000), 1_000_000)
    return f"{second_text(whole)}.{microseconds:06}Z"


@lru_cache(maxsize=64)
def second_text(seconds: int) -> str:
    """A whole second, which many lines have in common."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class LineFormatter(logging.Formatter):
    """One line per record; a traceback follows on lines of its own.

    Control characters of the message are escaped: what a peer sent must not
    look like a line of ours.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Render a record; the time is UTC with microseconds."""
        level = NAMES.get(record.levelno, record.levelname.lower())
        message = record.getMessage().translate(CONTROL)
        line = f"{stamp(record.created)}\t{level}\t{record.name}\t{message}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send this process's log to standard error (or stream) from a level on.

    level: debug, info, warn or error; raises ValueError for anything else. Standard error
    is never waited for: see log_handler.
    """
    if level not in LEVELS:
        raise ValueError(f"log level {level!r}: expected one of {', '.join(LEVELS)}")
    root = logging.getLogger()
    root.setLevel(LEVELS[level])
    if stream is None and patient() is not None:
        return
    handler = handler_of(stream)
    handler.setFormatter(LineFormatter())
    root.handlers[:] = [handler]


def handler_of(stream: TextIO | None) -> logging.Handler:
    """What writes to a stream; None: to standard error, where it is a file descriptor."""
    if stream is None:
        try:
            return PatientHandler(sys.stderr.fileno())
        except io.UnsupportedOperation:
            pass
    return logging.StreamHandler(stream or sys.stderr)


def patient() -> PatientHandler | None:
    """The handler of standard error, if it is in place."""
    found = (h for h in logging.getLogger().handlers if isinstance(h, PatientHandler))
    return next(found, None)


def dropped() -> int:
    """How many lines nobody read in time."""
    handler = patient()
    return handler.dropped if handler is not None else 0
