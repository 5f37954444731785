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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Literal

from bpf.layout import AddressKey, Endpoint, EndpointKey, Pod, Port, PortKey, RangeKey
from bpf.maps import U64
from daemon.scope import ENROLLED, PLACES, Content, Scope, TableName

MAX_GENERATION: Final = (1 << 32) - 1
EMPTY: Final = Port(generation=0, count=0).pack()
NO_ENDPOINT: Final = bytes(Endpoint.SIZE)
#: Entries of one operation at most: some hundred microseconds in the kernel.
RUN: Final = 512

AnyTable = TableName | Literal["endpoints"]
KEY_SIZES: Final[Mapping[AnyTable, int]] = {
    "pods": U64.size,
    "members": U64.size,
    "addresses": AddressKey.SIZE,
    "ranges": RangeKey.SIZE,
    "ports": PortKey.SIZE,
    "endpoints": EndpointKey.SIZE,
}
#: A map and a key of it.
Subject = tuple[TableName, bytes]


@dataclass(frozen=True, slots=True)
class Put:
    """Write entries of a map in order; keys, values: packed, each end to end."""

    table: AnyTable
    keys: bytes
    values: bytes

    def entries(self) -> list[tuple[bytes, bytes]]:
        """Key and value of each."""
        keys = split(self.keys, KEY_SIZES[self.table])
        return list(zip(keys, split(self.values, len(self.values) // len(keys)), strict=True))

    def cut(self, count: int) -> tuple[Put, Put]:
        """The first entries, and the rest."""
        key_size = KEY_SIZES[self.table]
        value_size = len(self.values) * key_size // len(self.keys)
        at_key, at_value = count * key_size, count * value_size
        return (
            Put(self.table, self.keys[:at_key], self.values[:at_value]),
            Put(self.table, self.keys[at_key:], self.values[at_value:]),
        )


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete entries of a map in order; those that aren't there are passed over."""

    table: AnyTable
    keys: bytes


Operation = Put | Delete


@dataclass(frozen=True, slots=True)
class Group:
    """Operations done in order; when one can't be, ``undo`` those before it.

    subject: what the group is about; None: each single entry is for itself.
    """

    subject: Subject | None
    operations: tuple[Operation, ...]


#: A place where whoever executes may do something else first.
PAUSE: Final = Group(None, ())
PAUSE_AFTER: Final = 256


@dataclass(slots=True)
class Programmed(Content):
    """What the maps hold now, as far as this process has seen and written.

    ports: here the records. endpoints: generation -> its endpoints from index 0 on,
    end to end, with ``NO_ENDPOINT`` in holes.
    """

    endpoints: dict[int, bytes] = field(default_factory=dict)
    last_generation: int = 0

    def whole(self) -> Scope:
        """All keys that something is programmed for, but the pods'."""
        return Scope(
            addresses=set(self.addresses), ranges=set(self.ranges), ports=set(self.ports)
        )

    def read_endpoints(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take in what a dump of the map holds."""
        found: dict[int, dict[int, bytes]] = {}
        for key, value in entries:
            generation, index = EndpointKey.FORMAT.unpack(key)
            found.setdefault(generation, {})[index] = value
        for generation, members in found.items():
            whole = range(max(members) + 1)
            self.endpoints[generation] = b"".join(members.get(i, NO_ENDPOINT) for i in whole)
        self.last_generation = max(self.endpoints, default=0)

    def record(self, operation: Operation) -> None:
        """Note that an operation was done."""
        if operation.table == "endpoints":
            self.record_endpoints(operation)
            return
        known = self.of(operation.table)
        if isinstance(operation, Put):
            known.update(operation.entries())
        else:
            for key in split(operation.keys, KEY_SIZES[operation.table]):
                known.pop(key, None)

    def record_endpoints(self, operation: Operation) -> None:
        """Endpoints are written from the first on, and deleted from the last."""
        generation, first = EndpointKey.FORMAT.unpack_from(operation.keys)
        kept = self.endpoints.pop(generation, b"")[: first * Endpoint.SIZE]
        if isinstance(operation, Put):
            kept = kept + operation.values if kept else operation.values
            self.last_generation = generation
        if kept:
            self.endpoints[generation] = kept

    def endpoints_of(self, record: bytes | None) -> bytes:
        """The endpoints that a record leads to, and those beyond its count."""
        if record is None or record == EMPTY:
            return b""
        return self.endpoints.get(Port.FORMAT.unpack(record)[0], b"")

    def holds(self, key: bytes, desired: bytes) -> bool:
        """Whether a set has this content, whole and in this order."""
        record = self.ports.get(key)
        if record is None:
            return False
        generation, count = Port.FORMAT.unpack(record)
        if count * Endpoint.SIZE != len(desired):
            return False
        return not count or self.endpoints.get(generation, b"")[: len(desired)] == desired


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


def undo(done: Sequence[Operation]) -> tuple[Operation, ...]:
    """What takes back the beginning of a group: the new generation's endpoints."""
    return tuple(
        Delete(operation.table, operation.keys)
        for operation in reversed(done)
        if isinstance(operation, Put) and operation.table == "endpoints" and operation.keys
    )


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


def split(packed: bytes, size: int) -> list[bytes]:
    """What lies end to end, one by one."""
    if len(packed) == size:
        return [packed]
    return [packed[start : start + size] for start in range(0, len(packed), size)]


class Generations:
    """Hands out numbers that no set in the maps has, ascending, 1 after the last."""

    def __init__(self, programmed: Programmed) -> None:
        self.in_use = programmed.endpoints
        self.last = programmed.last_generation

    def take(self) -> int:
        """The next free generation; never 0."""
        while True:
            self.last = self.last % MAX_GENERATION + 1
            if self.last not in self.in_use:
                return self.last
