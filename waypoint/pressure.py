"""Looks at what this process holds, and has the worker act on it (see overload)."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
from collections.abc import Callable
from pathlib import Path

from waypoint.overload import Level, level_of
from waypoint.worker import Worker

logger = logging.getLogger(__name__)

#: Seconds between two looks, and at least between two attempts to give memory back.
LOOK = 0.25
TRIM = 5.0
CGROUPS = Path("/sys/fs/cgroup")
PAGE = os.sysconf("SC_PAGE_SIZE")
WORDS = {
    Level.CALM: "no overload any more",
    Level.TIGHT: "near overload, idle and slow peers have less time",
    Level.FULL: "overloaded, new requests get 503 and new connections are refused",
}


class Pressure:
    """Keeps a worker's level.

    limit: bytes that the process may have; resident: how many it has; trim: gives back
    to the system what was freed.
    """

    def __init__(
        self,
        worker: Worker,
        limit: int,
        *,
        resident: Callable[[], int],
        trim: Callable[[], None],
    ) -> None:
        self.worker = worker
        self.limit = limit
        self.resident = resident
        self.trim = trim
        self.trimmed = float("-inf")

    def look(self) -> None:
        """See how much there is, and act when that is another level."""
        worker = self.worker
        limits = worker.limits
        crowd = max(
            worker.active / limits.requests, worker.connections / max(1, limits.connections)
        )
        memory = self.resident() / self.limit
        level = level_of(worker.level, memory, crowd)
        now = worker.time()
        if level is not Level.CALM and now - self.trimmed >= TRIM:
            # The allocator keeps what was freed, for a worse time than this one.
            self.trimmed = now
            self.trim()
            memory = self.resident() / self.limit
            level = level_of(worker.level, memory, crowd)
        if level is not worker.level:
            shares = f"{memory:.0%} of memory, {crowd:.0%} of requests or connections"
            logger.log(
                logging.WARNING if level > worker.level else logging.INFO,
                "%s: %s", WORDS[level], shares,
            )  # fmt: skip
            worker.set_level(level)

    async def run(self) -> None:
        """Go on looking."""
        while True:
            await asyncio.sleep(LOOK)
            self.look()


def watch(worker: Worker, share: int, workers: int) -> Pressure:
    """The real thing: share, in percent, of the memory there is for so many workers."""
    limit = memory_there_is() * share // 100 // workers
    return Pressure(worker, limit, resident=resident_bytes, trim=trimmer())


def resident_bytes() -> int:
    """What this process has in memory."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * PAGE


def memory_there_is() -> int:
    """The tightest of the machine's memory and our cgroups' limits."""
    found = os.sysconf("SC_PHYS_PAGES") * PAGE
    own = Path("/proc/self/cgroup").read_text().splitlines()[-1].partition("::")[2]
    return min([found, *limits_above(CGROUPS, own)])


def limits_above(root: Path, own: str) -> list[int]:
    """The limits of a cgroup (v2) and those that it is in; own: its path, from root on."""
    folder = root / own.lstrip("/")
    found = []
    while folder != root.parent:
        try:
            text = (folder / "memory.max").read_text().strip()
        except OSError:
            # No limit can be set at the root, nor where memory isn't accounted for.
            text = "max"
        if text != "max":
            found.append(int(text))
        folder = folder.parent
    return found


def trimmer() -> Callable[[], None]:
    """glibc's malloc_trim(); elsewhere nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)

    def run() -> None:
        if trim is not None:
            trim(0)

    return run
