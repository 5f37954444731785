"""Keeps the keys that come from afar: fetched when they are named, renewed in time.

Filters look at what is held; nobody who sends requests waits for anything but the
first fetch of keys that a token needs.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from waypoint.filters.jwt.fetch import FetchError, fetch_keys
from waypoint.filters.jwt.filter import JwtFilter
from waypoint.filters.jwt.slots import Held, Remote
from ztunnel_compat.runtime.backoff import Backoff

if TYPE_CHECKING:
    from waypoint.cluster import Cluster
    from waypoint.worker import Worker

logger = logging.getLogger(__name__)

#: Fetches at a time, and sources at all; beyond that, their tokens are refused.
AT_ONCE = 16
MOST = 256
#: Keys are renewed when so much of their time is over, and never sooner than after a
#: second.
EARLY = 0.9
SOONEST = 1.0
#: Seconds between tries after a failure, where the source doesn't say.
AGAIN_FIRST, AGAIN_MOST = 1.0, 60.0


class Entry:
    """A source, and what is held of it; cluster: who is asked, if that is in the mesh."""

    def __init__(self, source: Remote) -> None:
        self.source = source
        self.held = Held()
        self.cluster: Cluster | None = None
        self.task: asyncio.Task[None] | None = None
        self.fetched = 0.0
        self.fetches = 0
        self.failures = 0
        self.error = ""


class Keeper:
    """All sources that filters in force name, each with a task of its own."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.entries: dict[Remote, Entry] = {}
        self.room = asyncio.Semaphore(AT_ONCE)
        self.overflow = 0

    def follow(self) -> None:
        """Take over what a push brought: give filters what is held, begin, and leave."""
        wanted: set[Remote] = set()
        targets = self.worker.targets
        served = (*targets.by_hash.values(), *targets.workloads.values())
        for target in (targets.pods, *served):
            for placed in target.chain.filters:
                if isinstance(placed.filter, JwtFilter):
                    for slot in placed.filter.slots:
                        source = slot.source
                        assert source is not None
                        entry = self.entry(source)
                        slot.held = entry.held
                        if source.cluster and source.cluster in target.clusters:
                            entry.cluster = target.clusters[source.cluster]
                        wanted.add(source)
        for source in self.entries.keys() - wanted:
            task = self.entries.pop(source).task
            if task is not None:
                task.cancel()

    def entry(self, source: Remote) -> Entry:
        """What is known of a source; a new one is fetched from."""
        entry = self.entries.get(source)
        if entry is not None:
            return entry
        entry = Entry(source)
        if len(self.entries) >= MOST:
            self.refuse(entry)
            return entry
        self.entries[source] = entry
        entry.task = self.worker.tasks.spawn(self.keep(entry), f"keys of {source.uri}")
        return entry

    def refuse(self, entry: Entry) -> None:
        """Don't fetch: there are too many."""
        self.overflow += 1
        self.worker.stats.filter("jwks.overflow")
        logger.error("keys of %s: more than %d sources of keys", entry.source.uri, MOST)
        entry.held.settled.set()

    async def keep(self, entry: Entry) -> None:
        """Fetch for as long as the source is named."""
        source = entry.source
        backoff = Backoff(AGAIN_FIRST, max(AGAIN_FIRST, min(AGAIN_MOST, source.cache)))
        while True:
            if await self.renew(entry):
                backoff.reset()
                await asyncio.sleep(max(SOONEST, source.cache * EARLY))
            else:
                pause = backoff.next() if source.refetch is None else source.refetch
                await asyncio.sleep(max(SOONEST, pause))

    async def renew(self, entry: Entry) -> bool:
        """Fetch once, with retries; whether there are keys now. What was held stays."""
        pauses = Backoff(*entry.source.pauses)
        for attempt in range(entry.source.retries + 1):
            if attempt:
                await asyncio.sleep(pauses.next())
            try:
                async with self.room:
                    keys = await fetch_keys(self.worker, entry.source, entry.cluster)
            except FetchError as error:
                self.failed(entry, str(error))
                continue
            self.worker.stats.filter("jwks.fetch_success")
            entry.fetches += 1
            entry.fetched = self.worker.time()
            if entry.error:
                logger.info("keys of %s are there again", entry.source.uri)
            entry.error = ""
            if entry.held.keys is not keys:
                entry.held.keys = keys
                entry.held.settled.set()
                self.worker.forget()
            return True
        if not entry.held.settled.is_set():
            entry.held.settled.set()
        return False

    def failed(self, entry: Entry, reason: str) -> None:
        """Note a failure; it is said once, until another one takes its place."""
        self.worker.stats.filter("jwks.fetch_failed")
        entry.failures += 1
        if reason != entry.error:
            kept = "; those from before stay in force" if entry.held.keys else ""
            logger.error("keys of %s: %s%s", entry.source.uri, reason, kept)
        entry.error = reason

    def dump(self) -> dict[str, Any]:
        """All sources, for people."""
        return {entry.source.uri: self.dump_entry(entry) for entry in self.entries.values()}

    def dump_entry(self, entry: Entry) -> dict[str, Any]:
        """One source; age: seconds since its keys were fetched."""
        keys = entry.held.keys
        return {
            "cluster": entry.source.cluster,
            "keys": [key.kid for key in keys.keys] if keys is not None else None,
            "unused": list(keys.unused) if keys is not None else [],
            "tokens": len(keys.known) if keys is not None else 0,
            "age": round(self.worker.time() - entry.fetched, 1) if entry.fetches else None,
            "fetches": entry.fetches,
            "failures": entry.failures,
            "error": entry.error,
        }
