"""Writes policy sets into the kernel's maps, under numbers that nothing uses yet.

A set that doesn't fit is taken back, so that no half of one can be used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from bpf.layout import (
    ChunkFlag,
    IdentityRulesKey,
)
from bpf.maps import Maps
from bpf.tables import Table
from daemon.policies.compile import (
    CompiledSet,
    identity_rules,
    port_entries,
    range_entries,
)
from daemon.policies.identities import identity_hash
from ztunnel_compat.identity import Identity

#: Numbers wrap here: a set's last chunk must not pass 2^32.
MOST: Final = (1 << 32) - 65

#: A table and a key in it.
Entry = tuple[Table[Any, Any], Any]


@dataclass(slots=True)
class WrittenSet:
    """A set in the maps: its first number, what it is made of, all of its entries."""

    number: int
    compiled: CompiledSet
    entries: list[Entry] = field(default_factory=list)


class Tables:
    """The maps of policy sets; numbers: of all chunks that are in them."""

    def __init__(self, maps: Maps) -> None:
        self.maps = maps
        self.numbers: dict[int, int] = {n: chunk.flags for n, chunk in maps.chunks.items()}
        self.next = max(self.numbers, default=0) + 1

    def write(
        self, compiled: CompiledSet, identities: Iterable[Identity]
    ) -> Iterator[WrittenSet]:
        """Write a set; yields it after each entry, done when it ends.

        Raises MapFullError after taking back what was written.
        """
        number = self.take(len(compiled.chunks))
        written = WrittenSet(number, compiled)
        try:
            for table, key, value in self.contents(written, identities):
                written.entries.append((table, key))
                table.put(key, value)
                yield written
            for index, chunk in enumerate(compiled.chunks):
                self.numbers[number + index] = chunk.record.flags
        except BaseException:
            self.remove(written)
            raise

    def take(self, count: int) -> int:
        """The first of so many numbers that nothing uses."""
        number = self.next
        while number > MOST or any(number + n in self.numbers for n in range(count)):
            number = 1 if number > MOST else number + 1
        self.next = number + count
        return number

    def contents(
        self, written: WrittenSet, identities: Iterable[Identity]
    ) -> Iterator[tuple[Table[Any, Any], Any, Any]]:
        """All entries of a set: tables, keys and values; each chunk's record last."""
        maps = self.maps
        known = list(identities)
        for number, chunk in enumerate(written.compiled.chunks, start=written.number):
            for source, rules in range_entries(chunk.sources, number):
                yield maps.chunk_sources, source, rules
            for destination, rules in range_entries(chunk.destinations, number):
                yield maps.chunk_destinations, destination, rules
            for port, rules in port_entries(chunk.ports, number):
                yield maps.chunk_ports, port, rules
            if chunk.identities is not None:
                for identity in (None, *known):
                    key = identity_key(number, identity)
                    yield maps.chunk_identities, key, identity_rules(chunk, identity)
            yield maps.chunks, number, chunk.record

    def add_identity(self, written: WrittenSet, identity: Identity) -> None:
        """Let a set know one more identity; raises MapFullError, then it doesn't."""
        for number, chunk in enumerate(written.compiled.chunks, start=written.number):
            if chunk.identities is not None:
                key = identity_key(number, identity)
                if self.maps.chunk_identities.get(key) is None:
                    self.maps.chunk_identities.put(key, identity_rules(chunk, identity))
                    written.entries.append((self.maps.chunk_identities, key))

    def remove(self, written: WrittenSet) -> None:
        """Delete a set that no guard names any more."""
        for table, key in reversed(written.entries):
            table.delete(key)
        for index in range(len(written.compiled.chunks)):
            self.numbers.pop(written.number + index, None)

    def numbers_of(self, first: int) -> set[int]:
        """The numbers of the set that begins with this one, if it is there."""
        found = set()
        number = first
        while number in self.numbers:
            found.add(number)
            if not self.numbers[number] & ChunkFlag.MORE:
                break
            number += 1
        return found

    def sweep(self, used: set[int]) -> int:
        """Delete every chunk whose number isn't used, and its entries; how many.

        What an earlier process wrote, whole or cut short. A system call per entry
        of the maps.
        """
        maps = self.maps
        gone = set()
        for table, number_of in self.tables():
            for key, _value in list(table.items()):
                number = number_of(key)
                if number not in used:
                    gone.add(number)
                    table.delete(key)
        for hit, _count in list(maps.hits.items()):
            if hit.chunk and hit.chunk not in used:
                maps.hits.delete(hit)
        for number in gone:
            self.numbers.pop(number, None)
        return len(gone)

    def tables(self) -> tuple[tuple[Table[Any, Any], Callable[[Any], int]], ...]:
        """The tables, the records first, and what tells a key's number."""
        maps = self.maps
        return (
            (maps.chunks, int),
            (maps.chunk_identities, lambda key: int(key.chunk)),
            (maps.chunk_sources, lambda key: int(key.chunk)),
            (maps.chunk_destinations, lambda key: int(key.chunk)),
            (maps.chunk_ports, lambda key: int(key.chunk)),
        )


def identity_key(number: int, identity: Identity | None) -> IdentityRulesKey:
    """Where a chunk's rules for an identity are."""
    return IdentityRulesKey(number, 0 if identity is None else identity_hash(identity))
