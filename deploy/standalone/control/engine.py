"""The one owner of state: what was written and said goes in, views come out.

Deriving a view runs in a worker thread, one at a time: at thousands of objects
it takes longer than the event loop may be held up. Everything that it works on
is immutable, so nothing needs a lock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from deploy.standalone.control.applied import Change, Outcome
from deploy.standalone.control.catalog import Catalog
from deploy.standalone.control.derive import derive
from deploy.standalone.control.errors import StateError, UnknownError
from deploy.standalone.control.memo import Memo
from deploy.standalone.control.objects import IpAddress
from deploy.standalone.control.pods import PodName, PodStatus
from deploy.standalone.control.problems import Level, Problem
from deploy.standalone.control.state import StateStore
from deploy.standalone.control.view import Carried, Settings, View

logger = logging.getLogger(__name__)

Listener = Callable[[View, View], None]


class Engine:
    """Inputs may change at any time; ``run`` makes views of them, and tells.

    listeners: called with the view before and the new one, in the event loop.
    """

    def __init__(self, settings: Settings, store: StateStore) -> None:
        self.settings = settings
        self.store = store
        self.memo = Memo()
        self.catalog = store.load_catalog()
        self.carried = store.load_carried(self.catalog)
        self.statuses: dict[PodName, PodStatus] = {}
        self.names = dict(self.carried.names)
        self.members = dict(self.carried.members)
        self.listeners: list[Listener] = []
        self.view = derive(Catalog(), {}, Carried(), settings, Memo())
        self.saved: tuple[Catalog | None, Carried | None] = (None, None)
        self.wanted = 0
        self.reached = 0
        self.dirty = asyncio.Event()
        self.published = asyncio.Event()

    # ---- inputs

    def touch(self) -> None:
        """Say that an input has changed."""
        self.wanted += 1
        self.dirty.set()

    def set_catalog(self, catalog: Catalog) -> None:
        """Replace what was written."""
        self.catalog = catalog
        self.touch()

    def set_status(self, name: PodName, status: PodStatus) -> None:
        """Take what the runner says of a pod; raises UnknownError for another's uid."""
        known = self.view.pods.get(name)
        if known is None:
            raise UnknownError(f"there is no pod {'/'.join(name)}")
        if known.pod.uid != status.uid:
            raise UnknownError(
                f"pod {'/'.join(name)} has uid {known.pod.uid} now, not {status.uid}"
            )
        if self.statuses.get(name) != status:
            self.statuses[name] = status
            self.touch()

    def set_name(self, name: str, addresses: tuple[IpAddress, ...]) -> None:
        """Take what a host name stands for."""
        if self.names.get(name) != addresses:
            self.names[name] = addresses
            self.touch()

    def set_members(self, node: str, uids: frozenset[str]) -> None:
        """Take what a node's agent says it serves."""
        if self.members.get(node) != uids:
            self.members[node] = uids
            self.touch()

    async def change(self, change: Change, text: str, file: str) -> Outcome:
        """Apply or delete; returns when it is in force, and on disk."""
        outcome = change(self.catalog, text, file)
        self.set_catalog(outcome.catalog)
        await self.settled()
        return outcome

    # ---- views

    async def settled(self) -> None:
        """Wait until everything that was said before this call is in the view."""
        goal = self.wanted
        while self.reached < goal:
            await self.published.wait()

    async def snapshot_other_than(self, version: str, seconds: float) -> View:
        """The view, once its snapshot has another version, or after some seconds."""
        try:
            async with asyncio.timeout(seconds):
                while self.view.snapshot.version == version:
                    await self.published.wait()
        except TimeoutError:
            pass
        return self.view

    async def run(self) -> None:
        """Make a new view whenever an input has changed, for ever."""
        while True:
            await self.dirty.wait()
            await self.step()

    async def step(self) -> None:
        """Make one view of the inputs as they are now, and publish it."""
        self.dirty.clear()
        goal, catalog = self.wanted, self.catalog
        statuses, names = dict(self.statuses), dict(self.names)
        before = replace(self.carried, names=names, members=dict(self.members))
        view = await asyncio.to_thread(self.make, catalog, statuses, before)
        self.carried = view.carried
        last, self.view = self.view, view
        for name in self.statuses.keys() - view.statuses.keys():
            if self.statuses[name] == statuses.get(name):
                del self.statuses[name]
        for host in names.keys() - view.wanted_names:
            self.names.pop(host, None)
        self.reached = goal
        report(last.problems, view.problems)
        for listener in self.listeners:
            listener(last, view)
        reached, self.published = self.published, asyncio.Event()
        reached.set()

    def make(
        self, catalog: Catalog, statuses: dict[PodName, PodStatus], before: Carried
    ) -> View:
        """Derive a view and keep what a restart needs, in a worker thread."""
        view = derive(catalog, statuses, before, self.settings, self.memo)
        saved_catalog, saved_carried = self.saved
        # Revisions aren't kept: what pods are made from is in the catalog.
        lasting = replace(view.carried, revisions={})
        try:
            if catalog is not saved_catalog:
                self.store.save_catalog(catalog)
            if lasting != saved_carried:
                self.store.save_carried(lasting)
        except StateError as error:
            logger.error("%s; a restart of this process will not know of it", error)
        self.saved = (catalog, lasting)
        return view


def report(before: tuple[Problem, ...], after: tuple[Problem, ...]) -> None:
    """Log what is newly wrong, and what no longer is."""
    for problem in after:
        if problem not in before:
            level = logging.ERROR if problem.level is Level.ERROR else logging.INFO
            logger.log(level, "%s", problem)
    resolved = sum(problem not in after for problem in before)
    if resolved:
        logger.info("%d earlier problems are gone, %d are left", resolved, len(after))
