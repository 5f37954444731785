"""Deletes the flows that an ended network namespace left in the flow map.

A connection's entry goes when its client's socket closes. The sockets of a
dying netns can end unseen, and an entry that stays would speak for whoever gets
the address next. Pods that are merely un-enrolled keep their connections, so
their entries stay until the netns itself has ended. Flows carry their netns'
cookie, which is never given twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from bpf.layout import Flow, FlowKey
from bpf.tables import Table
from daemon.netns_watch import NetnsWatch
from ztunnel_compat.runtime.tasks import Tasks

logger = logging.getLogger(__name__)


class Departed:
    """Namespaces of pods that are no longer enrolled, by their id in ours.

    released: called with each flow that is deleted, for what goes with it.
    """

    def __init__(
        self,
        flows: Table[FlowKey, Flow],
        tasks: Tasks,
        released: Callable[[FlowKey, Flow], None] = lambda _key, _flow: None,
    ) -> None:
        self.flows = flows
        self.tasks = tasks
        self.released = released
        self.watch = NetnsWatch(self.ended)
        self.left: dict[int, int] = {}
        self.swept = 0

    def close(self) -> None:
        """Stop watching."""
        self.watch.close()

    async def leave(self, number: int, cookie: int) -> None:
        """A pod was un-enrolled; number: its netns' id from ``watch``."""
        if self.watch.alive(number):
            self.left[number] = cookie
        else:
            await self.bury(cookie)

    async def bury(self, cookie: int) -> None:
        """A netns has ended."""
        await asyncio.to_thread(self.sweep, cookie)

    def ended(self, number: int) -> None:
        """A watched netns ended."""
        if number in self.left:
            self.tasks.spawn(self.bury(self.left.pop(number)), "flow sweep")

    def sweep(self, cookie: int) -> None:
        """Delete the flows of a netns; reads the whole map.

        One whose tuple another netns has taken meanwhile is another's.
        """
        swept = 0
        for key in [key for key, flow in self.flows.items() if flow.netns == cookie]:
            flow = self.flows.get(key)
            if flow is not None and flow.netns == cookie and self.flows.delete(key):
                swept += 1
                self.released(key, flow)
        self.swept += swept
        if swept:
            logger.info("deleted %d flows of an ended network namespace", swept)
