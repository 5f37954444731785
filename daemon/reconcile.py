"""From what is programmed and what should be, the ordered map operations.

A program in the kernel may look between any two entries that are written, so after
each of them every ``ports`` record must lead to as many endpoints as it says, and
every place to a record that is there already. That gives the order:

1. pods that are new, or gain a waypoint or a place to look at
2. each changed set: endpoints under a new generation, the ``ports`` record that
   names it, then the old generation's endpoints
3. addresses, then ranges, that are new or changed: what a namespace's range would
   hide must be there first; 4. ranges, then addresses, that are gone
5. sets that are gone: the record, then its endpoints
6. pods that lose something or are gone
7. endpoints that no record leads to (an earlier process ended in between)

Equal content gives no operation. An empty set's record is generation 0 and
count 0. This module decides only; ``program`` executes.
"""

from __future__ import annotations

import array
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from bpf.layout import Endpoint, Pod, Port
from daemon.operations import PAUSE, Delete, Group, Operation, Put
from daemon.programmed import EMPTY, Generations, Programmed
from daemon.scope import ENROLLED, PLACES, Content, Scope, TableName

#: Entries of one operation at most: some hundred microseconds in the kernel.
RUN: Final = 512
#: Comparisons until there is a place to do something else.
PAUSE_AFTER: Final = 256


def reconcile(programmed: Programmed, desired: Content, scope: Scope) -> Iterator[Group]:
    """Groups of operations that make the scope's keys as desired, in order.

    Keys outside of the scope are left alone. Among the groups are some without
    operations, ``PAUSE``, at least every ``PAUSE_AFTER`` comparisons.

    Lazy: a group is right when it is made, and its first operation must follow
    at once. Pods may come and go between groups; the rest has this one writer.
    """
    stale = Scope(pods=scope.pods, members=scope.members)
    for number, key in enumerate(scope.ports):
        if number % PAUSE_AFTER == 0:
            yield PAUSE
        content = desired.ports.get(key)
        if key in programmed.ports if content is None else not programmed.holds(key, content):
            stale.ports.add(key)
    for table in PLACES:
        now, then, keys = programmed.of(table), desired.of(table), stale.of(table)
        for number, key in enumerate(scope.of(table)):
            if number % PAUSE_AFTER == 0:
                yield PAUSE
            if now.get(key) != then.get(key):
                keys.add(key)
    yield from ordered(programmed, desired, stale)


def ordered(programmed: Programmed, desired: Content, stale: Scope) -> Iterator[Group]:
    """The groups for keys that differ, in the order that this module's text gives."""
    generations = Generations(programmed)
    for table in ENROLLED:
        yield from pods(programmed, desired, stale, table, final=False)
    for key in sorted(stale.ports):
        if key in desired.ports:
            yield swap(programmed, key, desired.ports[key], generations)
    for table in PLACES:
        there = desired.of(table)
        for keys in runs(key for key in sorted(stale.of(table)) if key in there):
            values = b"".join([there[key] for key in keys])
            yield Group(None, (Put(table, b"".join(keys), values),))
    for table in reversed(PLACES):
        there = desired.of(table)
        for keys in runs(key for key in sorted(stale.of(table)) if key not in there):
            yield Group(None, (Delete(table, b"".join(keys)),))
    for key in sorted(stale.ports):
        if key not in desired.ports:
            yield Group(("ports", key), (Delete("ports", key), *old_endpoints(programmed, key)))
    for table in ENROLLED:
        yield from pods(programmed, desired, stale, table, final=True)


def pods(
    programmed: Programmed, desired: Content, stale: Scope, table: TableName, *, final: bool
) -> Iterator[Group]:
    """Writes or deletes those pods that differ when their turn comes.

    Not final: what a pod has and won't have is left to it for the time being.
    """
    for key in sorted(stale.of(table)):
        before, after = programmed.of(table).get(key), desired.of(table).get(key)
        if not final:
            after = before if after is None else merged(before, after)
        if after == before:
            continue
        operation = Delete(table, key) if after is None else Put(table, key, after)
        yield Group((table, key), (operation,))


def merged(before: bytes | None, after: bytes) -> bytes:
    """A pod as it is to be, with the waypoint and flags that it is to lose."""
    if before is None:
        return after
    old, new = Pod.unpack(before), Pod.unpack(after)
    waypoint = new.waypoint or old.waypoint
    return Pod(
        new.workload, waypoint, new.identity, new.namespace, old.flags | new.flags
    ).pack()


def leftovers(programmed: Programmed) -> Iterator[Group]:
    """Deletes endpoints that no ``ports`` record leads to."""
    counts = dict(Port.FORMAT.unpack(record) for record in programmed.ports.values())
    for generation in sorted(programmed.endpoints):
        count = counts.get(generation, 0)
        found = len(programmed.endpoints[generation]) // Endpoint.SIZE
        for operation in deletes(generation, count, found):
            yield Group(None, (operation,))


def swap(programmed: Programmed, key: bytes, desired: bytes, generations: Generations) -> Group:
    """Puts a set in the place of another, or of none."""
    record = EMPTY
    puts: list[Operation] = []
    if desired:
        count = len(desired) // Endpoint.SIZE
        generation = generations.take()
        record = Port.FORMAT.pack(generation, count)
        for first in range(0, count, RUN):
            last = min(count, first + RUN)
            values = desired[first * Endpoint.SIZE : last * Endpoint.SIZE]
            puts.append(Put("endpoints", endpoint_keys(generation, first, last), values))
    old = old_endpoints(programmed, key)
    return Group(("ports", key), (*puts, Put("ports", key, record), *old))


def old_endpoints(programmed: Programmed, key: bytes) -> Iterator[Delete]:
    """Deletes what the record at a key leads to."""
    record = programmed.ports.get(key, EMPTY)
    count = len(programmed.endpoints_of(record)) // Endpoint.SIZE
    return deletes(Port.FORMAT.unpack(record)[0], 0, count)


def deletes(generation: int, first: int, last: int) -> Iterator[Delete]:
    """Deletes a generation's endpoints from one index to before another, the last first."""
    for start in reversed(range(first, last, RUN)):
        yield Delete("endpoints", endpoint_keys(generation, start, min(last, start + RUN)))


def endpoint_keys(generation: int, first: int, last: int) -> bytes:
    """Packed EndpointKeys of a generation, from one index to before another."""
    words = array.array("I", bytes(8 * (last - first)))
    words[0::2] = array.array("I", [generation]) * (last - first)
    words[1::2] = array.array("I", range(first, last))
    return words.tobytes()


def runs(keys: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Keys in lists of ``RUN`` at most."""
    rest = iter(keys)
    while run := list(islice(rest, RUN)):
        yield run
