"""Typed access to the kernel's maps, and the same in memory.

A Table is one hash map. PinnedTable is the kernel's, opened by its pin;
MemoryTable behaves the same and needs no kernel: both pass one test suite.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Generic, Protocol, Self, TypeVar

from bpf import kernel
from bpf.errors import KernelError, LayoutError, MapFullError
from bpf.knobs import Knobs
from bpf.layout import (
    ActiveKey,
    Address,
    AddressKey,
    Chunk,
    Counter,
    Endpoint,
    EndpointKey,
    Flow,
    FlowKey,
    Guard,
    Hit,
    IdentityRulesKey,
    Listener,
    LocalAddress,
    Pod,
    Port,
    PortKey,
    PortRulesKey,
    RangeKey,
    RangeRulesKey,
    Reply,
    ReplyKey,
    Rules,
    Sticky,
    StickyKey,
)
from bpf.marks import Marks, MemoryMarks, PinnedMarks
from bpf.percpu import Limits, MemoryLimits, MemorySums, PinnedLimits, PinnedSums, Sums
from bpf.ringbuf import MemoryRing, PinnedRing, Ring

K = TypeVar("K")
V = TypeVar("V")


class Table(Protocol, Generic[K, V]):
    """One hash map: keys and values of one struct each."""

    @property
    def name(self) -> str:
        """The map's name, as in include/maps.h."""
        ...

    @property
    def max_entries(self) -> int:
        """Most entries it can hold."""
        ...

    def get(self, key: K) -> V | None:
        """The entry's value, or None."""
        ...

    def put(self, key: K, value: V) -> None:
        """Write an entry, new or not; raises MapFullError, LayoutError."""
        ...

    def delete(self, key: K) -> bool:
        """Remove an entry; whether there was one."""
        ...

    def items(self) -> Iterator[tuple[K, V]]:
        """All entries, in no order; entries written meanwhile may be missed."""
        ...

    def put_packed(self, keys: bytes, values: bytes) -> None:
        """Write entries in order, each as the kernel holds it, end to end.

        Raises MapFullError, with the number of those before it in ``done``.
        """
        ...

    def delete_packed(self, keys: bytes) -> None:
        """Remove entries in order; those that aren't there are passed over."""
        ...

    def packed_items(self) -> Iterator[tuple[bytes, bytes]]:
        """``items`` as the kernel holds them."""
        ...


class Counts(Protocol, Generic[K]):
    """One hash map of numbers that the kernel counts up, summed over CPUs."""

    @property
    def name(self) -> str:
        """The map's name, as in include/maps.h."""
        ...

    def items(self) -> Iterator[tuple[K, int]]:
        """All entries, in no order; entries written meanwhile may be missed."""
        ...

    def delete(self, key: K) -> bool:
        """Remove an entry; whether there was one."""
        ...


class Packed(Protocol):
    """A struct of layout.py."""

    SIZE: ClassVar[int]

    def pack(self) -> bytes:
        """As the kernel holds it."""
        ...

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """From what the kernel holds."""
        ...


S = TypeVar("S", bound=Packed)


@dataclass(frozen=True, slots=True)
class Codec(Generic[K]):
    """How a key or value is written and read; size: bytes."""

    size: int
    pack: Callable[[K], bytes]
    unpack: Callable[[bytes], K]


def codec(mirror: type[S]) -> Codec[S]:
    """The codec of a struct of layout.py."""
    return Codec(mirror.SIZE, mirror.pack, mirror.unpack)


def number(shape: struct.Struct) -> Codec[int]:
    """The codec of a plain number; packing raises LayoutError."""

    def pack(value: int) -> bytes:
        try:
            return shape.pack(value)
        except struct.error as error:
            raise LayoutError(f"number {value}: {error}") from None

    def unpack(raw: bytes) -> int:
        return int(shape.unpack(raw)[0])

    return Codec(shape.size, pack, unpack)


U64 = number(struct.Struct("=Q"))
U32 = number(struct.Struct("=I"))


def pieces(packed: bytes, size: int) -> list[bytes]:
    """What lies end to end, one by one."""
    return [packed[start : start + size] for start in range(0, len(packed), size)]


def number_of(
    keys: bytes, key: Codec[K], values: bytes | None = None, value: Codec[V] | None = None
) -> int:
    """How many entries these are; raises LayoutError for a piece of one."""
    count, rest = divmod(len(keys), key.size)
    if rest or (values is not None and value and len(values) != count * value.size):
        raise LayoutError(f"{len(keys)} and {len(values or b'')} bytes are no entries")
    return count


class PinnedTable(Generic[K, V]):
    """A map of the kernel's, opened by its pin; holds a file descriptor."""

    def __init__(self, path: Path, keys: Codec[K], values: Codec[V]) -> None:
        """Raises KernelError when there's no such pin, LayoutError when it differs."""
        self.name = path.name
        self.keys = keys
        self.values = values
        self.fd = kernel.open_pin(path)
        self.info = kernel.map_info(self.fd, self.name)
        if (self.info.key_size, self.info.value_size) != (keys.size, values.size):
            os.close(self.fd)
            raise LayoutError(
                f"map {path} has keys of {self.info.key_size} and values of "
                f"{self.info.value_size} bytes, not {keys.size} and {values.size}: "
                "it was made by another version; load the programs again"
            )

    @property
    def max_entries(self) -> int:
        """Most entries it can hold."""
        return self.info.max_entries

    def get(self, key: K) -> V | None:
        """The entry's value, or None."""
        raw = kernel.lookup(self.fd, self.keys.pack(key), self.values.size, self.name)
        return None if raw is None else self.values.unpack(raw)

    def put(self, key: K, value: V) -> None:
        """Write an entry, new or not; raises MapFullError, LayoutError."""
        try:
            kernel.update(self.fd, self.keys.pack(key), self.values.pack(value), self.name)
        except KernelError as error:
            if error.errno == errno.E2BIG:
                raise MapFullError(self.name, self.max_entries) from None
            raise

    def delete(self, key: K) -> bool:
        """Remove an entry; whether there was one."""
        return kernel.delete(self.fd, self.keys.pack(key), self.name)

    def items(self) -> Iterator[tuple[K, V]]:
        """All entries, in no order; entries written meanwhile may be missed."""
        for key, value in self.packed_items():
            yield self.keys.unpack(key), self.values.unpack(value)

    def put_packed(self, keys: bytes, values: bytes) -> None:
        """Write entries in order, each as the kernel holds it, end to end.

        Raises MapFullError, with the number of those before it in ``done``.
        """
        count = number_of(keys, self.keys, values, self.values)
        what = f"{self.name}, {count} entries"
        done = kernel.update_batch(self.fd, keys, values, count, what)
        if done.errno == errno.E2BIG:
            raise MapFullError(self.name, self.max_entries, done.count)
        if done.errno:
            raise KernelError(f"bpf MAP_UPDATE_BATCH {what}", done.errno)

    def delete_packed(self, keys: bytes) -> None:
        """Remove entries in order; those that aren't there are passed over."""
        count = number_of(keys, self.keys)
        while count:
            what = f"{self.name}, {count} entries"
            done = kernel.delete_batch(self.fd, keys, count, what)
            if done.errno not in {0, errno.ENOENT}:
                raise KernelError(f"bpf MAP_DELETE_BATCH {what}", done.errno)
            passed = min(count, done.count + 1)
            keys, count = keys[passed * self.keys.size :], count - passed

    def packed_items(self) -> Iterator[tuple[bytes, bytes]]:
        """``items`` as the kernel holds them."""
        return kernel.entries(self.fd, self.info, self.name)

    def close(self) -> None:
        """Close the file descriptor; the map stays."""
        os.close(self.fd)


class MemoryTable(Generic[K, V]):
    """A table without a kernel; holds bytes too, so that what fits there fits here."""

    def __init__(self, name: str, max_entries: int, keys: Codec[K], values: Codec[V]) -> None:
        self.name = name
        self.max_entries = max_entries
        self.keys = keys
        self.values = values
        self.entries: dict[bytes, bytes] = {}

    def get(self, key: K) -> V | None:
        """The entry's value, or None."""
        raw = self.entries.get(self.keys.pack(key))
        return None if raw is None else self.values.unpack(raw)

    def put(self, key: K, value: V) -> None:
        """Write an entry, new or not; raises MapFullError, LayoutError."""
        raw_key, raw_value = self.keys.pack(key), self.values.pack(value)
        if raw_key not in self.entries and len(self.entries) >= self.max_entries:
            raise MapFullError(self.name, self.max_entries)
        self.entries[raw_key] = raw_value

    def delete(self, key: K) -> bool:
        """Remove an entry; whether there was one."""
        return self.entries.pop(self.keys.pack(key), None) is not None

    def items(self) -> Iterator[tuple[K, V]]:
        """All entries, in no order; entries written meanwhile may be missed."""
        for key, value in self.packed_items():
            yield self.keys.unpack(key), self.values.unpack(value)

    def put_packed(self, keys: bytes, values: bytes) -> None:
        """Write entries in order, each as the kernel holds it, end to end.

        Raises MapFullError, with the number of those before it in ``done``.
        """
        number_of(keys, self.keys, values, self.values)
        entries = zip(
            pieces(keys, self.keys.size), pieces(values, self.values.size), strict=True
        )
        for done, (key, value) in enumerate(entries):
            if key not in self.entries and len(self.entries) >= self.max_entries:
                raise MapFullError(self.name, self.max_entries, done)
            self.entries[key] = value

    def delete_packed(self, keys: bytes) -> None:
        """Remove entries in order; those that aren't there are passed over."""
        number_of(keys, self.keys)
        for key in pieces(keys, self.keys.size):
            self.entries.pop(key, None)

    def packed_items(self) -> Iterator[tuple[bytes, bytes]]:
        """``items`` as the kernel holds them."""
        return iter(list(self.entries.items()))


class PinnedCounters:
    """The kernel's counters, summed over CPUs."""

    def __init__(self, path: Path) -> None:
        self.fd = kernel.open_pin(path)
        self.name = path.name
        self.cpus = kernel.possible_cpus()

    def __call__(self) -> dict[Counter, int]:
        """Each counter's value since the maps were made."""
        return {counter: self.read(counter) for counter in Counter}

    def read(self, counter: Counter) -> int:
        """One counter's value."""
        key = struct.pack("=I", counter)
        raw = kernel.lookup(self.fd, key, 8 * self.cpus, self.name)
        return sum(struct.unpack(f"={self.cpus}Q", raw)) if raw else 0

    def close(self) -> None:
        """Close the file descriptor; the map stays."""
        os.close(self.fd)


class PinnedCounts(Generic[K]):
    """A per-CPU hash map of 64-bit numbers, opened by its pin."""

    def __init__(self, path: Path, keys: Codec[K]) -> None:
        self.fd = kernel.open_pin(path)
        self.name = path.name
        info = kernel.map_info(self.fd, self.name)
        if (info.key_size, info.value_size) != (keys.size, 8):
            self.close()
            raise LayoutError(
                f"map {self.name} is {info.key_size} -> {info.value_size} bytes, "
                f"expected {keys.size} -> 8"
            )
        self.keys = keys
        self.values = struct.Struct(f"={kernel.possible_cpus()}Q")
        self.info = replace(info, value_size=self.values.size)

    def items(self) -> Iterator[tuple[K, int]]:
        """All entries, in no order; entries written meanwhile may be missed."""
        for key, value in kernel.entries(self.fd, self.info, self.name):
            yield self.keys.unpack(key), sum(self.values.unpack(value))

    def delete(self, key: K) -> bool:
        """Remove an entry; whether there was one."""
        return kernel.delete(self.fd, self.keys.pack(key), self.name)

    def close(self) -> None:
        """Close the file descriptor; the map stays."""
        os.close(self.fd)


POD = codec(Pod)
ADDRESS_KEY = codec(AddressKey)
ADDRESS = codec(Address)
PORT_KEY = codec(PortKey)
PORT = codec(Port)
ENDPOINT_KEY = codec(EndpointKey)
ENDPOINT = codec(Endpoint)
RANGE_KEY = codec(RangeKey)
LOCAL_ADDRESS = codec(LocalAddress)
LISTENER = codec(Listener)
GUARD = codec(Guard)
ACTIVE_KEY = codec(ActiveKey)
STICKY_KEY = codec(StickyKey)
STICKY = codec(Sticky)
REPLY_KEY = codec(ReplyKey)
REPLY = codec(Reply)
FLOW_KEY = codec(FlowKey)
FLOW = codec(Flow)
CHUNK = codec(Chunk)
IDENTITY_RULES_KEY = codec(IdentityRulesKey)
RANGE_RULES_KEY = codec(RangeRulesKey)
PORT_RULES_KEY = codec(PortRulesKey)
RULES = codec(Rules)
HIT = codec(Hit)
#: struct accelerated of include/maps.h, which is the kernel's own affair.
ACCELERATED: Codec[bytes] = Codec(64, bytes, bytes)


@dataclass(frozen=True, slots=True)
class Maps:
    """Every map that user space reads or writes; counters: read all of them."""

    pods: Table[int, Pod]  # by netns cookie
    members: Table[int, Pod]  # by cgroup id
    member_levels: Table[int, int]  # its one entry, 0: where in the tree members are
    addresses: Table[AddressKey, Address]
    ranges: Table[RangeKey, Address]
    ports: Table[PortKey, Port]
    endpoints: Table[EndpointKey, Endpoint]
    guards: Table[LocalAddress, Guard]
    listeners: Table[Listener, int]  # the workload that is bound there
    member_guards: Table[int, Guard]  # by workload
    flows: Table[FlowKey, Flow]
    active: Table[ActiveKey, int]  # open connections
    accelerated: Table[FlowKey, bytes]  # user space only deletes
    nameservers: Table[LocalAddress, int]
    sticky: Table[StickyKey, Sticky]
    replies: Table[ReplyKey, Reply]
    chunks: Table[int, Chunk]  # by number
    chunk_identities: Table[IdentityRulesKey, Rules]
    chunk_sources: Table[RangeRulesKey, Rules]
    chunk_destinations: Table[RangeRulesKey, Rules]
    chunk_ports: Table[PortRulesKey, Rules]
    hits: Counts[Hit]
    counters: Callable[[], dict[Counter, int]]
    traffic: Sums
    limits: Limits
    marks: Marks  # by descriptor
    events: Ring  # one reader at a time
    close: Callable[[], None]

    @classmethod
    def open(cls, view: Path) -> Maps:
        """The maps that are pinned below a pin directory, or a Stage's view of one.

        Raises KernelError.
        """
        maps = view / "maps"
        with contextlib.ExitStack() as opened:

            def table(name: str, keys: Codec[K], values: Codec[V]) -> PinnedTable[K, V]:
                return opened.enter_context(
                    contextlib.closing(PinnedTable(maps / name, keys, values))
                )

            counters = PinnedCounters(maps / "counters")
            opened.callback(counters.close)
            hits = opened.enter_context(contextlib.closing(PinnedCounts(maps / "hits", HIT)))
            traffic = opened.enter_context(contextlib.closing(PinnedSums(maps / "traffic")))
            limits = opened.enter_context(contextlib.closing(PinnedLimits(maps / "limits")))
            marks = opened.enter_context(contextlib.closing(PinnedMarks(maps / "marks")))
            events = opened.enter_context(contextlib.closing(PinnedRing(maps / "events")))
            return cls(
                pods=table("pods", U64, POD),
                members=table("members", U64, POD),
                member_levels=table("member_levels", U32, U32),
                addresses=table("addresses", ADDRESS_KEY, ADDRESS),
                ranges=table("ranges", RANGE_KEY, ADDRESS),
                ports=table("ports", PORT_KEY, PORT),
                endpoints=table("endpoints", ENDPOINT_KEY, ENDPOINT),
                guards=table("guards", LOCAL_ADDRESS, GUARD),
                listeners=table("listeners", LISTENER, U64),
                member_guards=table("member_guards", U64, GUARD),
                flows=table("flows", FLOW_KEY, FLOW),
                active=table("active", ACTIVE_KEY, U64),
                accelerated=table("accelerated", FLOW_KEY, ACCELERATED),
                nameservers=table("nameservers", LOCAL_ADDRESS, U32),
                sticky=table("sticky", STICKY_KEY, STICKY),
                replies=table("replies", REPLY_KEY, REPLY),
                chunks=table("chunks", U32, CHUNK),
                chunk_identities=table("chunk_identities", IDENTITY_RULES_KEY, RULES),
                chunk_sources=table("chunk_sources", RANGE_RULES_KEY, RULES),
                chunk_destinations=table("chunk_destinations", RANGE_RULES_KEY, RULES),
                chunk_ports=table("chunk_ports", PORT_RULES_KEY, RULES),
                hits=hits,
                counters=counters,
                traffic=traffic,
                limits=limits,
                marks=marks,
                events=events,
                close=opened.pop_all().close,
            )

    @classmethod
    def memory(cls, knobs: Knobs | None = None) -> Maps:
        """Maps of this process alone, with the same bounds; counters stay 0."""
        sizes = knobs or Knobs()
        return cls(
            pods=MemoryTable("pods", sizes.pods, U64, POD),
            members=MemoryTable("members", sizes.members, U64, POD),
            member_levels=MemoryTable("member_levels", 1, U32, U32),
            addresses=MemoryTable("addresses", sizes.addresses, ADDRESS_KEY, ADDRESS),
            ranges=MemoryTable("ranges", sizes.ranges, RANGE_KEY, ADDRESS),
            ports=MemoryTable("ports", sizes.ports, PORT_KEY, PORT),
            endpoints=MemoryTable("endpoints", sizes.endpoints, ENDPOINT_KEY, ENDPOINT),
            guards=MemoryTable("guards", sizes.guards, LOCAL_ADDRESS, GUARD),
            listeners=MemoryTable("listeners", sizes.listeners, LISTENER, U64),
            member_guards=MemoryTable("member_guards", sizes.members, U64, GUARD),
            flows=MemoryTable("flows", sizes.flows, FLOW_KEY, FLOW),
            active=MemoryTable("active", sizes.active, ACTIVE_KEY, U64),
            accelerated=MemoryTable("accelerated", sizes.accelerated, FLOW_KEY, ACCELERATED),
            nameservers=MemoryTable("nameservers", sizes.nameservers, LOCAL_ADDRESS, U32),
            sticky=MemoryTable("sticky", sizes.sticky, STICKY_KEY, STICKY),
            replies=MemoryTable("replies", sizes.replies, REPLY_KEY, REPLY),
            chunks=MemoryTable("chunks", sizes.chunks, U32, CHUNK),
            chunk_identities=MemoryTable(
                "chunk_identities", sizes.chunk_identities, IDENTITY_RULES_KEY, RULES
            ),
            chunk_sources=MemoryTable(
                "chunk_sources", sizes.chunk_sources, RANGE_RULES_KEY, RULES
            ),
            chunk_destinations=MemoryTable(
                "chunk_destinations", sizes.chunk_destinations, RANGE_RULES_KEY, RULES
            ),
            chunk_ports=MemoryTable("chunk_ports", sizes.chunk_ports, PORT_RULES_KEY, RULES),
            hits=MemoryTable("hits", sizes.hits, HIT, U64),
            counters=lambda: dict.fromkeys(Counter, 0),
            traffic=MemorySums("traffic", sizes.traffic),
            limits=MemoryLimits(),
            marks=MemoryMarks(),
            events=MemoryRing(),
            close=lambda: None,
        )
