"""Port 15020 of several processes that serve: their parent sums what they tell."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from waypoint.metrics.families import exposition
from waypoint.metrics.pages import PAGE, sliced
from waypoint.metrics.snapshot import Snapshot, read_snapshot
from waypoint.metrics.totals import Totals
from ztunnel_compat.runtime import log
from ztunnel_compat.runtime.metrics import Families

#: Between two times that workers are asked: what one counted since then ends with it.
ASK_SECONDS: Final = 15.0

#: Asks each worker for a page: status and text, by their numbers.
Ask = Callable[[str], Awaitable[Sequence[tuple[int, str]]]]


class Numbers:
    """What all workers have counted, whoever of them is there.

    starts: how many were started so far.
    """

    def __init__(self, ask: Ask, starts: Callable[[], int]) -> None:
        self.ask = ask
        self.starts = starts
        self.totals = Totals()
        self.asking = asyncio.Lock()

    async def run(self) -> None:
        """Ask now and then, for ever."""
        while True:
            await asyncio.sleep(ASK_SECONDS)
            await self.collect()

    async def collect(self) -> Snapshot:
        """Ask all workers; the sum of what they, and those before them, have counted."""
        async with self.asking:
            answers = await self.ask(PAGE)
            for number, told in enumerate(await asyncio.to_thread(read, answers)):
                if told is not None:
                    self.totals.take(number, told)
                else:
                    self.totals.gone(number)
            self.totals.forget(asyncio.get_running_loop().time())
            found = self.totals.sum()
            dropped = found.counts.get(("log_dropped",), 0)
            found.counts["log_dropped",] = dropped + log.dropped()
            found.counts["worker_starts",] = self.starts()
            return found

    async def source(self) -> Families:
        """What Prometheus is told."""
        text = await sliced(exposition(await self.collect()))
        return lambda: text


def read(answers: Sequence[tuple[int, str]]) -> list[Snapshot | None]:
    """What each worker told; None: it doesn't answer."""
    return [read_snapshot(json.loads(text)) if code == 200 else None for code, text in answers]
