"""Executes map operations, in slices, and remembers what didn't fit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from bpf.errors import MapFullError
from bpf.maps import Maps
from bpf.tables import Table
from daemon.operations import KEY_SIZES, AnyTable, Group, Operation, Put, Subject, undo
from daemon.programmed import Programmed
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

    A map that is full costs a group, or an entry that is for itself, its change, not
    the ones after it: the maps keep what they had for that key, ``failed`` names
    it, ``full`` counts. clock: seconds, for slices.
    """

    def __init__(
        self,
        maps: Maps,
        programmed: Programmed,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.programmed = programmed
        self.clock = clock
        self.tables: dict[AnyTable, Table[Any, Any]] = {
            "pods": maps.pods,
            "members": maps.members,
            "addresses": maps.addresses,
            "ranges": maps.ranges,
            "ports": maps.ports,
            "endpoints": maps.endpoints,
        }
        self.failed: dict[Subject, str] = {}
        self.full: Counter[str] = Counter()
        self.operations = 0

    def apply(self, group: Group) -> None:
        """Do one group at once; raises MapFullError after taking it back."""
        for _ in self.steps(group):
            pass

    async def apply_in_slices(self, groups: Iterable[Group]) -> int:
        """Do groups in order, giving way between operations; how many entries that were.

        Groups that don't fit are taken back, logged and counted.
        """
        before = self.operations
        full_before = self.full.copy()
        messages: dict[str, str] = {}
        turn = Turn(self.clock)
        for group in groups:
            try:
                for _ in self.steps(group):
                    await turn.step()
            except MapFullError as error:
                messages[error.map_name] = str(error)
        for name, message in messages.items():
            logger.error(
                "%s; %d entries keep what they had, retried at the next push",
                message,
                self.full[name] - full_before[name],
            )
        return self.operations - before

    def take_failed(self) -> Scope:
        """The keys that aren't as desired because a map was full, to be tried again."""
        scope = Scope()
        failed, self.failed = self.failed, {}
        for table, key in failed:
            scope.of(table).add(key)
        return scope

    def steps(self, group: Group) -> Iterator[None]:
        """Do one group; yields after each operation, once at least."""
        if group.subject is None:
            yield from self.single_entries(group)
            return
        for number, operation in enumerate(group.operations):
            try:
                self.perform(operation)
            except MapFullError as error:
                done = (*group.operations[:number], self.note_done(operation, error)[0])
                for taken_back in undo(done):
                    self.perform(taken_back)
                self.note_full(group.subject, error)
                raise
            yield
        self.failed.pop(group.subject, None)

    def single_entries(self, group: Group) -> Iterator[None]:
        """Do what can be done of a group whose entries are for themselves."""
        last: MapFullError | None = None
        for operation in group.operations:
            try:
                self.perform(operation)
            except MapFullError as error:
                last = error
                self.replace_only(self.note_done(operation, error)[1], error)
            yield
        if last is not None:
            raise last
        yield

    def replace_only(self, operation: Put, error: MapFullError) -> None:
        """Write what a full map has room for, entries that it has; the others failed."""
        assert operation.table != "endpoints", "endpoints are written as a set"
        there = self.programmed.of(operation.table)
        kept = []
        for key, value in operation.entries():
            if key in there:
                kept.append((key, value))
            else:
                self.note_full((operation.table, key), error)
        if kept:
            keys, values = (b"".join(packed) for packed in zip(*kept, strict=True))
            self.perform(Put(operation.table, keys, values))

    def note_done(self, operation: Operation, error: MapFullError) -> tuple[Put, Put]:
        """Note the entries that were written before a map was full; those, and the rest."""
        assert isinstance(operation, Put), "a Delete found a map full"
        done, rest = operation.cut(error.done)
        if done.keys:
            self.programmed.record(done)
            self.operations += error.done
        return done, rest

    def note_full(self, subject: Subject, error: MapFullError) -> None:
        """Remember what couldn't be done."""
        self.full[error.map_name] += 1
        self.failed[subject] = str(error)

    def perform(self, operation: Operation) -> None:
        """Do one operation in its map and note it."""
        table = self.tables[operation.table]
        if isinstance(operation, Put):
            table.put_packed(operation.keys, operation.values)
        else:
            table.delete_packed(operation.keys)
        self.programmed.record(operation)
        self.operations += len(operation.keys) // KEY_SIZES[operation.table]


def dump(maps: Maps) -> Programmed:
    """What the maps hold; takes many system calls, so not in the event loop."""
    programmed = Programmed(
        pods=dict(maps.pods.packed_items()),
        members=dict(maps.members.packed_items()),
        addresses=dict(maps.addresses.packed_items()),
        ranges=dict(maps.ranges.packed_items()),
        ports=dict(maps.ports.packed_items()),
    )
    programmed.read_endpoints(maps.endpoints.packed_items())
    return programmed
