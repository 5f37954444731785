"""Executes map operations, in slices, and remembers what didn't fit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from bpf.errors import MapFullError
from bpf.layout import (
    Address,
    AddressKey,
    Endpoint,
    EndpointKey,
    Pod,
    Port,
    PortKey,
)
from bpf.maps import Maps
from daemon.reconcile import Delete, Group, Operation, Programmed, Put, undo
from daemon.scope import Scope

logger = logging.getLogger(__name__)

#: Seconds of work after which other work of the event loop gets its turn.
SLICE: Final = 0.01


class Turn:
    """Long work's turn in the event loop; clock: seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.ends = clock() + SLICE

    async def step(self) -> None:
        """Give way to other work when the turn is over."""
        if self.clock() > self.ends:
            await asyncio.sleep(0)
            self.ends = self.clock() + SLICE


class Programmer:
    """Writes the maps, and knows what they hold: ``programmed``.

    A map that is full costs the group its change, not the ones after it: the
    maps keep what they had for that key, ``failed`` names it, ``full`` counts.
    clock: seconds, for slices.
    """

    def __init__(
        self,
        maps: Maps,
        programmed: Programmed,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.maps = maps
        self.programmed = programmed
        self.clock = clock
        self.failed: dict[int | AddressKey | PortKey, str] = {}
        self.full: Counter[str] = Counter()
        self.operations = 0

    def apply(self, group: Group) -> None:
        """Do one group at once; raises MapFullError after taking it back."""
        for _ in self.steps(group):
            pass

    async def apply_in_slices(self, groups: Iterable[Group]) -> int:
        """Do groups in order, giving way between operations; how many were done.

        Groups that don't fit are taken back, logged and counted.
        """
        before = self.operations
        refused: dict[str, int] = {}
        turn = Turn(self.clock)
        for group in groups:
            try:
                for _ in self.steps(group):
                    await turn.step()
            except MapFullError as error:
                refused[str(error)] = refused.get(str(error), 0) + 1
        for message, count in refused.items():
            logger.error(
                "%s; %d entries keep what they had, retried at the next push", message, count
            )
        return self.operations - before

    def take_failed(self) -> Scope:
        """The keys that aren't as desired because a map was full, to be tried again."""
        scope = Scope()
        failed, self.failed = self.failed, {}
        for key in failed:
            match key:
                case int():
                    scope.pods.add(key)
                case AddressKey():
                    scope.addresses.add(key)
                case PortKey():
                    scope.ports.add(key)
        return scope

    def steps(self, group: Group) -> Iterator[None]:
        """Do one group; yields after each operation, once at least."""
        if not group.operations:
            yield
        for number, operation in enumerate(group.operations):
            try:
                self.perform(operation)
            except MapFullError as error:
                for taken_back in undo(group.operations[:number]):
                    self.perform(taken_back)
                self.full[error.map_name] += 1
                if group.subject is not None:
                    self.failed[group.subject] = str(error)
                raise
            yield
        if group.subject is not None:
            self.failed.pop(group.subject, None)

    def perform(self, operation: Operation) -> None:
        """Do one operation in its map and note it."""
        match operation:
            case Put(EndpointKey() as key, Endpoint() as value):
                self.maps.endpoints.put(key, value)
            case Put(PortKey() as key, Port() as value):
                self.maps.ports.put(key, value)
            case Put(AddressKey() as key, Address() as value):
                self.maps.addresses.put(key, value)
            case Put(int() as key, Pod() as value):
                self.maps.pods.put(key, value)
            case Delete(EndpointKey() as key):
                self.maps.endpoints.delete(key)
            case Delete(PortKey() as key):
                self.maps.ports.delete(key)
            case Delete(AddressKey() as key):
                self.maps.addresses.delete(key)
            case Delete(int() as key):
                self.maps.pods.delete(key)
        self.programmed.record(operation)
        self.operations += 1


def dump(maps: Maps) -> Programmed:
    """What the maps hold; takes a system call per entry, so not in the event loop."""
    return Programmed.of(
        maps.pods.items(),
        maps.addresses.items(),
        maps.ports.items(),
        maps.endpoints.items(),
    )
