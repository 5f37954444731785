"""Keeps the maps as the control plane wants them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from bpf.addresses import mapped
from daemon.desired import Desired
from daemon.policies.keeper import Keeper
from daemon.program import Programmer, Turn
from daemon.reconcile import leftovers, reconcile
from daemon.scope import Scope
from daemon.stranded import Stranded
from ztunnel_compat.state import Changes

logger = logging.getLogger(__name__)


class Agent:
    """Takes changes in, one push after the other.

    ready: set once the maps are programmed from a complete first push; until
    then they stay as an earlier process left them.
    """

    def __init__(
        self,
        desired: Desired,
        programmer: Programmer,
        keeper: Keeper,
        stranded: Stranded,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.desired = desired
        self.programmer = programmer
        self.keeper = keeper
        self.stranded = stranded
        self.clock = clock
        self.ready = asyncio.Event()
        self.services: set[str] = set()
        self.workloads: set[str] = set()
        self.policies = False
        self.changed = asyncio.Event()
        self.last_seconds = 0.0
        self.pushes = 0

    def on_change(self, changes: Changes) -> None:
        """Note what a push changed; keys of one that waits already are merged."""
        self.services |= changes.services
        self.workloads |= changes.workloads
        self.policies |= bool(changes.policies)
        self.changed.set()

    async def run(self, synced: asyncio.Event) -> None:
        """Program everything once ``synced`` is set, then every change, for ever."""
        await synced.wait()
        state = self.desired.state
        self.services.update(service.key for service in state.services())
        self.workloads.update(workload.uid for workload in state.workloads())
        await self.push(self.programmer.programmed.whole())
        await self.programmer.apply_in_slices(leftovers(self.programmer.programmed))
        self.ready.set()
        while True:
            await self.changed.wait()
            await self.push(Scope())

    async def push(self, scope: Scope) -> None:
        """Bring the maps up to date with what changed, and with the scope's keys."""
        started = self.clock()
        self.changed.clear()
        services, self.services = self.services, set()
        workloads, self.workloads = self.workloads, set()
        policies, self.policies = self.policies, False
        # First, for a new pod is refused until it is guarded.
        await self.keeper.push(policies=policies, workloads=workloads)
        gone = self.gone(workloads)
        await self.take_in(services, workloads, scope)
        scope.add(self.programmer.take_failed())
        done = await self.programmer.apply_in_slices(
            reconcile(self.programmer.programmed, self.desired.content, scope)
        )
        if gone:
            await asyncio.to_thread(
                self.stranded.close_all, gone, self.keeper.enrolled.namespaces()
            )
        self.last_seconds = self.clock() - started
        self.pushes += 1
        logger.info(
            "push of %d services and %d workloads: %d map operations in %.1f ms",
            len(services),
            len(workloads),
            done,
            self.last_seconds * 1000,
        )

    def gone(self, workloads: set[str]) -> set[bytes]:
        """Addresses (16 bytes) of those workloads that are no more."""
        state, known = self.desired.state, self.desired.addresses_of
        removed = (uid for uid in workloads if state.workload(uid) is None)
        return {mapped(packed) for uid in removed for packed in known.get(uid, ())}

    async def take_in(self, services: set[str], workloads: set[str], scope: Scope) -> None:
        """Work out what should be, giving way to other work in between."""
        turn = Turn(self.clock)
        # First those who say where the node is: services are balanced by it.
        for uid in workloads:
            self.desired.workload_changed(uid, scope)
            await turn.step()
        for key in services:
            for _ in self.desired.service_steps(key, scope):
                await turn.step()
            await turn.step()
        for _ in self.desired.settling(scope):
            await turn.step()
        for key, problem in self.desired.take_new_problems():
            logger.warning("service %s: %s", key, problem)
