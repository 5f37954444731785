"""Where a provider's keys are, or will be once they were fetched."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from waypoint.filters.jwt.keys import Keys


@dataclass(frozen=True, slots=True)
class Remote:
    """Keys from afar; times in seconds. cluster: who is asked, where that is in the mesh.

    refetch: after a failure, None: longer and longer; retries, pauses: within one fetch.
    """

    uri: str
    cluster: str = ""
    timeout: float = 5.0
    cache: float = 600.0
    refetch: float | None = None
    retries: int = 0
    pauses: tuple[float, float] = (1.0, 10.0)


@dataclass(slots=True, eq=False)
class Held:
    """Keys as far as they are known; settled: the first try is over, or took too long."""

    keys: Keys | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def pending(self) -> bool:
        """Whether keys may still come for those who wait."""
        return self.keys is None and not self.settled.is_set()

    async def wait(self, seconds: float) -> None:
        """Until the first try is over, or for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self.settled.wait()
        except TimeoutError:
            self.settled.set()


@dataclass(slots=True, eq=False)
class Slot:
    """A provider's: whoever fetches puts in what is held of the source."""

    source: Remote | None = None
    held: Held = field(default_factory=Held)
