"""Brings the ledger up to date: now and then, and when somebody scrapes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from bpf.errors import KernelError
from bpf.layout import TrafficKey
from bpf.percpu import Sums
from daemon.program import Turn
from daemon.telemetry.ledger import Ledger
from daemon.telemetry.names import Names
from daemon.telemetry.open_flows import Found, OpenFlows

PERIOD: Final = 15.0
#: Scrapes that are closer together are told the same.
FRESH: Final = 0.5
#: Seconds for which sums wait for the names of both ends.
PATIENCE: Final = 30.0


class Collector:
    """One collection at a time, and none before the names are known; clock: seconds.

    ready: set when they are; collected: called after each with the moment it began at.
    """

    def __init__(
        self,
        sums: Sums,
        ledger: Ledger,
        names: Names,
        open_flows: OpenFlows,
        *,
        ready: asyncio.Event,
        clock: Callable[[], float] = time.monotonic,
        collected: Callable[[float], None] = lambda _began: None,
    ) -> None:
        self.sums = sums
        self.ledger = ledger
        self.names = names
        self.open_flows = open_flows
        self.ready = ready
        self.clock = clock
        self.collected = collected
        self.found = Found()
        self.waiting: dict[TrafficKey, float] = {}
        self.began: float | None = None
        self.seconds = 0.0
        self.working = asyncio.Lock()
        self.wanted = asyncio.Event()

    async def run(self) -> None:
        """Collect every PERIOD seconds, and when it is wanted, for ever."""
        self.reserve()
        await self.ready.wait()
        while True:
            await self.collect()
            self.wanted.clear()
            try:
                async with asyncio.timeout(PERIOD):
                    await self.wanted.wait()
            except TimeoutError:
                continue

    def reserve(self) -> None:
        """Make the key that takes what finds no room later on."""
        try:
            self.sums.ensure(TrafficKey())
        except KernelError:
            return  # full already: the kernel counts what it can't place

    async def fresh(self) -> None:
        """Return when there is a collection that isn't older than FRESH."""
        if not self.ready.is_set():
            return
        if self.began is None or self.clock() - self.began > FRESH:
            await self.collect()

    async def collect(self) -> None:
        """Take in the sums of all keys, and what open connections have moved.

        Open ones are looked at before the sums are read and again after: one that
        closes in between is in neither or in the sums alone, and what was shown
        of it before stands.
        """
        async with self.working:
            began = self.clock()
            turn = Turn(self.clock)
            while self.names.refresh():
                await turn.step()
            self.found = await asyncio.to_thread(self.open_flows.look)
            turn = Turn(self.clock)
            for key, sums in self.sums.items():
                if not self.early(key, began):
                    self.ledger.count(key, sums, began)
                await turn.step()
            live = await asyncio.to_thread(self.open_flows.still_open, self.found)
            self.ledger.live(live, began)
            if self.found.stale:
                await asyncio.to_thread(self.open_flows.sweep, self.found.stale)
            await self.fold(began)
            self.ledger.prune(began)
            self.began = began
            self.seconds = self.clock() - began
            self.collected(began)

    def early(self, key: TrafficKey, now: float) -> bool:
        """Whether to wait for the names of a new key: pods are faster than pushes."""
        if key in self.ledger.last or self.names.known(key.source, key.destination):
            self.waiting.pop(key, None)
            return False
        return now - self.waiting.setdefault(key, now) < PATIENCE

    async def fold(self, now: float) -> None:
        """Take keys that nobody uses out of the kernel's map, if it is half full."""
        if len(self.ledger.last) <= self.sums.max_entries // 2:
            return
        turn = Turn(self.clock)
        for key in self.ledger.idle_keys(now):
            sums = self.sums.take(key)
            if sums is not None:
                self.ledger.fold(key, sums, now)
            await turn.step()
        self.reserve()
