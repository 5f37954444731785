"""Deletes the flows that an ended network namespace left in the flow map.

A connection's entry goes when its client's socket closes. The sockets of a
dying netns can end unseen, and an entry that stays would speak for whoever gets
the address next. Pods that are merely un-enrolled keep their connections, so
their entries stay until the netns itself has ended.
"""

from __future__ import annotations

import asyncio
import logging

from bpf.layout import Flow, FlowKey
from bpf.maps import Table
from daemon.netns_watch import NetnsWatch
from ztunnel_compat.runtime.tasks import Tasks

logger = logging.getLogger(__name__)


class Departed:
    """Flows of pods that are no longer enrolled, by their netns' id."""

    def __init__(self, flows: Table[FlowKey, Flow], tasks: Tasks) -> None:
        self.flows = flows
        self.tasks = tasks
        self.watch = NetnsWatch(self.ended)
        self.left: dict[int, tuple[int, list[FlowKey]]] = {}
        self.swept = 0

    def close(self) -> None:
        """Stop watching."""
        self.watch.close()

    async def leave(self, number: int, source: int) -> None:
        """A pod was un-enrolled: no flow of this source comes from its netns any more.

        number: the netns' id from ``watch``; source: hash of the workload's uid.
        The flows are remembered one by one, because a pod of the same name may
        be enrolled soon in another netns.
        """
        keys = await asyncio.to_thread(flows_from, self.flows, source)
        if self.watch.alive(number):
            self.left[number] = (source, keys)
        else:
            await asyncio.to_thread(self.sweep, source, keys)

    async def bury(self, source: int) -> None:
        """Every netns that this source's flows came from has ended."""
        keys = await asyncio.to_thread(flows_from, self.flows, source)
        await asyncio.to_thread(self.sweep, source, keys)

    def ended(self, number: int) -> None:
        """A watched netns ended."""
        if number in self.left:
            source, keys = self.left.pop(number)
            self.tasks.spawn(asyncio.to_thread(self.sweep, source, keys), "flow sweep")

    def sweep(self, source: int, keys: list[FlowKey]) -> None:
        """Delete those flows that are still this source's."""
        swept = 0
        for key in keys:
            flow = self.flows.get(key)
            if flow is not None and flow.source == source:
                swept += self.flows.delete(key)
        self.swept += swept
        if swept:
            logger.info("deleted %d flows of an ended network namespace", swept)


def flows_from(flows: Table[FlowKey, Flow], source: int) -> list[FlowKey]:
    """The flows that a source made; a system call per entry of the whole map."""
    return [key for key, flow in flows.items() if flow.source == source]
