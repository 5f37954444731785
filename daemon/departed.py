"""Deletes the flows whose connections end unseen.

A connection's entry goes when its client's socket closes. The sockets of a
dying netns can end unseen, and an entry that stays would speak for whoever gets
the address next. Pods that are merely un-enrolled keep their connections, so
their entries stay until the netns itself has ended. Flows carry their netns'
cookie, which is never given twice. A cgroup that leaves the mesh takes its hooks along,
and others share its netns: its flows go with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from bpf.flows import Flows
from bpf.layout import Flow, FlowFlag
from daemon.netns_watch import NetnsWatch
from ztunnel_compat.runtime.tasks import Tasks

logger = logging.getLogger(__name__)


class Departed:
    """Namespaces of pods that are no longer enrolled, by their id in ours."""

    def __init__(self, flows: Flows, tasks: Tasks) -> None:
        self.flows = flows
        self.tasks = tasks
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
        await asyncio.to_thread(self.sweep, lambda flow: flow.netns == cookie)

    async def disown(self, workload: int) -> None:
        """A cgroup isn't a workload's any more; by the hash of its uid.

        What the daemon connects for a client (``TUNNELLED``) is the daemon's.
        """
        await asyncio.to_thread(
            self.sweep,
            lambda flow: flow.source == workload and not flow.flags & FlowFlag.TUNNELLED,
        )

    def ended(self, number: int) -> None:
        """A watched netns ended."""
        if number in self.left:
            self.tasks.spawn(self.bury(self.left.pop(number)), "flow sweep")

    def sweep(self, gone: Callable[[Flow], bool]) -> None:
        """Delete flows; reads the whole map.

        One whose tuple somebody else has taken meanwhile is another's.
        """
        swept = 0
        for key in [key for key, flow in self.flows.items() if gone(flow)]:
            flow = self.flows.get(key)
            if flow is not None and gone(flow) and self.flows.delete(key):
                swept += 1
        self.swept += swept
        if swept:
            logger.info("deleted %d flows whose ends nobody sees", swept)
