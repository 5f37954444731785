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
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, Protocol, Self, TypeVar

from bpf import kernel
from bpf.errors import KernelError, LayoutError, MapFullError
from bpf.knobs import Knobs
from bpf.layout import (
    Address,
    AddressKey,
    Counter,
    Endpoint,
    EndpointKey,
    Flow,
    FlowKey,
    Pod,
    Port,
    PortKey,
)

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


U64 = struct.Struct("=Q")


def pack_cookie(cookie: int) -> bytes:
    """A netns cookie as a key; raises LayoutError."""
    try:
        return U64.pack(cookie)
    except struct.error as error:
        raise LayoutError(f"netns cookie {cookie}: {error}") from None


def unpack_cookie(raw: bytes) -> int:
    """A netns cookie from a key."""
    return int(U64.unpack(raw)[0])


COOKIE = Codec(8, pack_cookie, unpack_cookie)


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
        for key, value in kernel.entries(self.fd, self.info, self.name):
            yield self.keys.unpack(key), self.values.unpack(value)

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
        for key, value in list(self.entries.items()):
            yield self.keys.unpack(key), self.values.unpack(value)


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


POD = codec(Pod)
ADDRESS_KEY = codec(AddressKey)
ADDRESS = codec(Address)
PORT_KEY = codec(PortKey)
PORT = codec(Port)
ENDPOINT_KEY = codec(EndpointKey)
ENDPOINT = codec(Endpoint)
FLOW_KEY = codec(FlowKey)
FLOW = codec(Flow)


@dataclass(frozen=True, slots=True)
class Maps:
    """Every map that user space reads or writes; counters: read all of them."""

    pods: Table[int, Pod]  # by netns cookie
    addresses: Table[AddressKey, Address]
    ports: Table[PortKey, Port]
    endpoints: Table[EndpointKey, Endpoint]
    flows: Table[FlowKey, Flow]
    counters: Callable[[], dict[Counter, int]]
    close: Callable[[], None]

    @classmethod
    def open(cls, pin_dir: Path) -> Maps:
        """The maps that ``loader.load(pin_dir, …)`` pinned; raises KernelError."""
        maps = pin_dir / "maps"
        with contextlib.ExitStack() as opened:

            def table(name: str, keys: Codec[K], values: Codec[V]) -> PinnedTable[K, V]:
                return opened.enter_context(
                    contextlib.closing(PinnedTable(maps / name, keys, values))
                )

            pods = table("pods", COOKIE, POD)
            addresses = table("addresses", ADDRESS_KEY, ADDRESS)
            ports = table("ports", PORT_KEY, PORT)
            endpoints = table("endpoints", ENDPOINT_KEY, ENDPOINT)
            flows = table("flows", FLOW_KEY, FLOW)
            counters = PinnedCounters(maps / "counters")
            opened.callback(counters.close)
            close = opened.pop_all().close
        return cls(pods, addresses, ports, endpoints, flows, counters, close)

    @classmethod
    def memory(cls, knobs: Knobs | None = None) -> Maps:
        """Maps of this process alone, with the same bounds; counters stay 0."""
        sizes = knobs or Knobs()
        return cls(
            MemoryTable("pods", sizes.pods, COOKIE, POD),
            MemoryTable("addresses", sizes.addresses, ADDRESS_KEY, ADDRESS),
            MemoryTable("ports", sizes.ports, PORT_KEY, PORT),
            MemoryTable("endpoints", sizes.endpoints, ENDPOINT_KEY, ENDPOINT),
            MemoryTable("flows", sizes.flows, FLOW_KEY, FLOW),
            lambda: dict.fromkeys(Counter, 0),
            lambda: None,
        )
