"""What a plug-in's process is asked, and how it is told of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from waypoint.errors import PluginError
from waypoint.filters.plugin.allowance import printable

Said = dict[str, Any]
Answer = tuple[Said, bytes]


class Told(NamedTuple):
    """Who is told what: loaded: what a class defines, or why there is none; printed: an
    answer with lines of output.
    """

    loaded: Callable[[Said | PluginError], None]
    printed: Callable[[Said], None]


class Call:
    """Something that a host is asked. limit: seconds; fresh: it needs to know nothing
    from before, so that it may be asked anew if it hadn't begun.
    """

    __slots__ = ("asked", "data", "done", "fresh", "limit", "said", "suspect")

    def __init__(
        self,
        said: Said,
        data: bytes,
        done: asyncio.Future[Answer],
        *,
        limit: float,
        fresh: bool,
        now: float,
    ) -> None:
        self.said = said
        self.data = data
        self.done = done
        self.limit = limit
        self.fresh = fresh
        self.asked = now
        self.suspect = False

    def fail(self, reason: str, trace: str = "") -> None:
        """There is no answer."""
        if not self.done.done():
            self.done.set_exception(PluginError(reason, trace))


def ended_with(status: int) -> str:
    """A process's end, in words."""
    return f"ended by signal {-status}" if status < 0 else f"ended with status {status}"


def last_line(trace: str) -> str:
    """What a traceback says in the end, on one line."""
    lines = trace.strip().splitlines()
    return printable(lines[-1])[:300] if lines else "an error without a word"
