"""From what is programmed and what should be, the ordered map operations.

A program in the kernel may look between any two operations, so after each of
them every ``ports`` record must lead to as many endpoints as it says, and
every address to a record that is there already. That gives the order:

1. pods that gain a waypoint or are new
2. each changed set: endpoints under a new generation, the ``ports`` record that
   names it, then the old generation's endpoints
3. addresses that are new or changed; 4. addresses that are gone
5. sets that are gone: the record, then its endpoints
6. pods that lose their waypoint or are gone
7. endpoints that no record leads to (an earlier process ended in between)

Equal content gives no operation. An empty set's record is generation 0 and
count 0. This module decides only; ``program`` executes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bpf.layout import (
    Address,
    AddressKey,
    Endpoint,
    EndpointKey,
    Pod,
    Port,
    PortKey,
)
from daemon.content import EndpointSet
from daemon.scope import Scope

MAX_GENERATION: Final = (1 << 32) - 1
EMPTY: Final = Port(generation=0, count=0)

Key = int | AddressKey | PortKey | EndpointKey
Value = Pod | Address | Port | Endpoint


@dataclass(frozen=True, slots=True)
class Put:
    """Write an entry; the key's type says into which map (int: pods)."""

    key: Key
    value: Value


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an entry; the key's type says from which map (int: pods)."""

    key: Key


Operation = Put | Delete


@dataclass(frozen=True, slots=True)
class Group:
    """Operations done in order; when one can't be, ``undo`` those before it.

    subject: the key that the group is about, or None for leftovers.
    """

    subject: int | AddressKey | PortKey | None
    operations: tuple[Operation, ...]


#: A place where whoever executes may do something else first.
PAUSE: Final = Group(None, ())
PAUSE_AFTER: Final = 256


@dataclass(slots=True)
class Programmed:
    """What the maps hold now, as far as this process has seen and written.

    endpoints: generation -> index -> endpoint.
    """

    pods: dict[int, Pod] = field(default_factory=dict)
    addresses: dict[AddressKey, Address] = field(default_factory=dict)
    ports: dict[PortKey, Port] = field(default_factory=dict)
    endpoints: dict[int, dict[int, Endpoint]] = field(default_factory=dict)
    last_generation: int = 0

    @classmethod
    def of(
        cls,
        pods: Iterable[tuple[int, Pod]],
        addresses: Iterable[tuple[AddressKey, Address]],
        ports: Iterable[tuple[PortKey, Port]],
        endpoints: Iterable[tuple[EndpointKey, Endpoint]],
    ) -> Programmed:
        """Build from a dump of the maps."""
        programmed = cls(dict(pods), dict(addresses), dict(ports))
        for key, endpoint in endpoints:
            programmed.record(Put(key, endpoint))
        programmed.last_generation = max(programmed.endpoints, default=0)
        return programmed

    def record(self, operation: Operation) -> None:
        """Note that an operation was done."""
        match operation:
            case Put(EndpointKey() as key, Endpoint() as value):
                self.endpoints.setdefault(key.generation, {})[key.index] = value
                self.last_generation = key.generation
            case Put(PortKey() as key, Port() as value):
                self.ports[key] = value
            case Put(AddressKey() as key, Address() as value):
                self.addresses[key] = value
            case Put(int() as key, Pod() as value):
                self.pods[key] = value
            case Delete(EndpointKey() as key):
                members = self.endpoints.get(key.generation, {})
                members.pop(key.index, None)
                if not members:
                    self.endpoints.pop(key.generation, None)
            case Delete(PortKey() as key):
                self.ports.pop(key, None)
            case Delete(AddressKey() as key):
                self.addresses.pop(key, None)
            case Delete(int() as key):
                self.pods.pop(key, None)
            case _:
                raise TypeError(f"{operation!r} puts a value of another map")

    def holds(self, key: PortKey, desired: EndpointSet) -> bool:
        """Whether a set has this content, whole and in this order."""
        port = self.ports.get(key)
        if port is None or port.count != len(desired):
            return False
        members = self.endpoints.get(port.generation, {})
        return all(members.get(i) == endpoint for i, endpoint in enumerate(desired))

    def whole(self) -> Scope:
        """All keys that something is programmed for, but the pods'."""
        return Scope(addresses=set(self.addresses), ports=set(self.ports))


def reconcile(
    programmed: Programmed,
    pods: Mapping[int, Pod],
    addresses: Mapping[AddressKey, Address],
    sets: Mapping[PortKey, EndpointSet],
    scope: Scope,
) -> Iterator[Group]:
    """Groups of operations that make the scope's keys as desired, in order.

    Keys outside of the scope are left alone. Among the groups are some without
    operations, ``PAUSE``, at least every ``PAUSE_AFTER`` comparisons.

    Lazy: a group is right when it is made, and its first operation must follow
    at once. Pods may come and go between groups; the rest has this one writer.
    """
    stale = Scope(pods=scope.pods)
    for number, key in enumerate(scope.ports):
        if number % PAUSE_AFTER == 0:
            yield PAUSE
        content = sets.get(key)
        if key in programmed.ports if content is None else not programmed.holds(key, content):
            stale.ports.add(key)
    for number, place in enumerate(scope.addresses):
        if number % PAUSE_AFTER == 0:
            yield PAUSE
        if programmed.addresses.get(place) != addresses.get(place):
            stale.addresses.add(place)
    yield from ordered(programmed, pods, addresses, sets, stale)


def ordered(
    programmed: Programmed,
    pods: Mapping[int, Pod],
    addresses: Mapping[AddressKey, Address],
    sets: Mapping[PortKey, EndpointSet],
    stale: Scope,
) -> Iterator[Group]:
    """The groups for keys that differ, in the order that this module's text gives."""
    ports = sorted(stale.ports, key=lambda k: (k.service, k.port, k.family, k.transport))
    places = sorted(stale.addresses, key=lambda k: k.address)
    gaining = sorted(c for c in stale.pods if gains(programmed.pods.get(c), pods.get(c)))
    generations = Generations(programmed)
    yield from pod_groups(programmed, pods, gaining)
    for key in ports:
        if key in sets:
            yield swap(programmed, key, sets[key], generations)
    for place in places:
        if place in addresses:
            yield Group(place, (Put(place, addresses[place]),))
    for place in places:
        if place not in addresses:
            yield Group(place, (Delete(place),))
    for key in ports:
        if key not in sets:
            yield Group(key, (Delete(key), *old_endpoints(programmed, key)))
    yield from pod_groups(programmed, pods, sorted(stale.pods.difference(gaining)))


def gains(before: Pod | None, after: Pod | None) -> bool:
    """Whether a pod is new, or has a waypoint to skip that it didn't have."""
    return after is not None and (before is None or (after != before and after.waypoint != 0))


def pod_groups(
    programmed: Programmed, pods: Mapping[int, Pod], cookies: Iterable[int]
) -> Iterator[Group]:
    """Writes or deletes those pods that differ when their turn comes."""
    for cookie in cookies:
        pod = pods.get(cookie)
        if pod != programmed.pods.get(cookie):
            yield Group(cookie, (Delete(cookie) if pod is None else Put(cookie, pod),))


def leftovers(programmed: Programmed) -> Iterator[Group]:
    """Deletes endpoints that no ``ports`` record leads to."""
    counts = {port.generation: port.count for port in programmed.ports.values()}
    for generation in sorted(programmed.endpoints):
        count = counts.get(generation, 0)
        deletes = tuple(
            Delete(EndpointKey(generation, index))
            for index in sorted(programmed.endpoints[generation])
            if index >= count
        )
        if deletes:
            yield Group(None, deletes)


def undo(done: Sequence[Operation]) -> tuple[Operation, ...]:
    """What takes back the beginning of a group: the new generation's endpoints."""
    return tuple(
        Delete(operation.key)
        for operation in reversed(done)
        if isinstance(operation, Put) and isinstance(operation.key, EndpointKey)
    )


def swap(
    programmed: Programmed, key: PortKey, desired: EndpointSet, generations: Generations
) -> Group:
    """Puts a set in the place of another, or of none."""
    port = EMPTY
    puts: tuple[Operation, ...] = ()
    if desired:
        port = Port(generation=generations.take(), count=len(desired))
        puts = tuple(
            Put(EndpointKey(port.generation, index), endpoint)
            for index, endpoint in enumerate(desired)
        )
    return Group(key, (*puts, Put(key, port), *old_endpoints(programmed, key)))


def old_endpoints(programmed: Programmed, key: PortKey) -> Iterator[Delete]:
    """Deletes what the record at a key leads to."""
    port = programmed.ports.get(key, EMPTY)
    members = programmed.endpoints.get(port.generation, {})
    for index in sorted(members):
        yield Delete(EndpointKey(port.generation, index))


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
