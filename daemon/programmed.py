"""What the maps hold now, as far as this process has seen and written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from bpf.codecs import split
from bpf.layout import Endpoint, EndpointKey, Port
from daemon.operations import KEY_SIZES, Operation, Put
from daemon.scope import Content, Scope

MAX_GENERATION: Final = (1 << 32) - 1
#: The record of an empty set.
EMPTY: Final = Port(generation=0, count=0).pack()
NO_ENDPOINT: Final = bytes(Endpoint.SIZE)


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
