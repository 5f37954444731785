"""Reads events four times a second, and writes the access log's lines.

What won't be written isn't worth reading: the kernel is told how many events a
window may have, so that a flood of connections costs this process nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import struct
import sys
import time
from collections.abc import Callable
from typing import Final

from bpf.layout import EventClass, EventKind
from bpf.limits import WINDOW, Limits
from bpf.ringbuf import Ring
from daemon.telemetry.access_log import Lines
from daemon.telemetry.budget import Budget
from ztunnel_compat.runtime.log import stamp

logger = logging.getLogger(__name__)

#: Seconds. Few lines at a time take the interpreter longer than the same ones together.
PERIOD: Final = 0.25
#: Seconds for which lines wait for the names of the mesh.
PATIENCE: Final = 10.0
#: Events between two looks at the event loop: a millisecond or so.
SLICE: Final = 128
CLASSES: Final[dict[int, EventClass]] = {
    EventKind.CLOSED: EventClass.CLOSED,
    EventKind.FAILED: EventClass.FAILED,
    EventKind.REFUSED: EventClass.FAILED,
    EventKind.DENIED: EventClass.DENIED,
    EventKind.DRY_RUN: EventClass.DENIED,
}
#: How struct event begins.
KIND: Final = struct.Struct("=I")
KINDS: Final = (EventClass.CLOSED, EventClass.FAILED, EventClass.DENIED)


def to_stderr(text: str) -> None:
    """Where the rest of the log goes."""
    sys.stderr.write(text)
    sys.stderr.flush()


class LogTask:
    """One budget of lines for each class of events.

    rate: lines a second of each class, 0 for none; ready: set when names are known;
    write: gets whole lines; clock and wall: monotonic nanoseconds, as the kernel's,
    and seconds since 1970.
    """

    def __init__(
        self,
        ring: Ring,
        limits: Limits,
        lines: Lines,
        rate: int,
        *,
        ready: asyncio.Event,
        write: Callable[[str], None] = to_stderr,
        clock: Callable[[], int] = time.monotonic_ns,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.ring = ring
        self.limits = limits
        self.lines = lines
        self.rate = rate
        self.ready = ready
        self.write = write
        self.clock = clock
        self.wall = wall
        self.budgets = {kind: Budget(rate) for kind in KINDS}
        #: Lines of others, whole; the budgets bound them.
        self.added: list[str] = []
        self.said = 0
        self.said_at = 0.0

    async def run(self) -> None:
        """Read for ever; with names, if there are some soon."""
        most = math.ceil(self.rate * WINDOW / 1_000_000_000)
        for kind in KINDS:
            self.limits.allow(kind, most)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self.ready.wait()
        while True:
            more = self.turn() == SLICE
            await asyncio.sleep(0 if more else PERIOD)

    def add(self, kind: EventClass, level: str, line: str) -> None:
        """Write somebody else's line at the next turn, if its class has room for more."""
        if self.budgets[kind].spend(1, self.clock() / 1e9):
            self.added.append(f"{stamp(self.wall())}\t{level}\taccess\t{line}\n")

    async def run_added(self) -> None:
        """Write others' lines alone, for ever: who follows us reads the ring."""
        while True:
            self.write_added()
            await asyncio.sleep(PERIOD)

    def write_added(self) -> None:
        """Write what others added."""
        text, self.added = self.added, []
        if text:
            self.write("".join(text))

    def turn(self) -> int:
        """Read a slice of events and write their lines; how many events.

        Lines aren't made where the budget of their class is spent.
        """
        records = self.ring.read(SLICE)
        now = self.clock()
        offset = self.wall() - now / 1e9
        text, self.added = self.added, []
        spent = set()
        self.lines.forget()
        for record in records:
            kind = CLASSES[KIND.unpack_from(record)[0]]
            if kind in spent:
                self.budgets[kind].refused += 1
                continue
            ended, told = self.lines.read(record)
            if self.budgets[kind].spend(len(told), now / 1e9):
                begins = stamp(offset + ended / 1e9)
                text += (f"{begins}\t{level}\taccess\t{line}\n" for level, line in told)
            else:
                spent.add(kind)
        if text:
            self.write("".join(text))
        self.say(now / 1e9)
        return len(records)

    def suppressed(self) -> dict[str, int]:
        """Lines that weren't written, by class; events that weren't made, too."""
        return {
            kind.name.lower(): self.budgets[kind].refused + self.limits.suppressed(kind)
            for kind in KINDS
        }

    def say(self, now: float) -> None:
        """Tell once a second at most that lines are missing."""
        if not self.rate or now - self.said_at < 1:
            return
        self.said_at = now
        total = sum(self.suppressed().values())
        if total > self.said:
            logger.warning(
                "access log: %d lines suppressed; ACCESS_LOG_RATE is %d a second",
                total - self.said,
                self.rate,
            )
            self.said = total
