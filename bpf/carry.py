"""Flows whose layout or number changed, carried to the maps in place of theirs.

Keys must be the same. Of a value, each field goes to the one of its name and size;
new fields are zero, as they are for what doesn't apply.

Programs write the old maps until the last moment. So everything is copied once; then,
while new programs write the new maps beside the old ones, what came and went
meanwhile is settled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from bpf.build import Build
from bpf.errors import MapFullError
from bpf.flows import RawFlows
from bpf.layout import FlowRequest

SIZES = {"__u8": 1, "__u16": 2, "__be16": 2, "__u32": 4, "__u64": 8}
HASH = re.compile(r'BPF_F_TABLE\("hash", struct (\w+), struct (\w+),')
STRUCT = re.compile(r"struct (\w+) \{ (.*) \}")
FIELD = re.compile(r"(\w+) (\w+)(?:\[(\d+)\])?;")


@dataclass(frozen=True, slots=True)
class Conversion:
    """How a value is made of an older one: size, and (from, to, bytes) of each field."""

    size: int
    moves: tuple[tuple[int, int, int], ...]

    def __call__(self, old: bytes) -> bytes:
        """The new value."""
        new = bytearray(self.size)
        for start, to, count in self.moves:
            new[to : to + count] = old[start : start + count]
        return bytes(new)


def between(old: Build, new: Build) -> Conversion | None:
    """From one build's flows to another's; None if they can't be carried."""
    before, after = (
        dict(STRUCT.findall(build.maps.get("flow_slots", ""))) for build in (old, new)
    )
    if before.get("flow_slot") != after["flow_slot"]:
        return None
    return conversion(old.maps.get("flows", ""), new.maps["flows"])


def conversion(old: str, new: str) -> Conversion | None:
    """Between two layouts of a hash; None if their keys differ, or they aren't ones."""
    before, after = HASH.search(old), HASH.search(new)
    if before is None or after is None:
        return None
    old_structs, new_structs = dict(STRUCT.findall(old)), dict(STRUCT.findall(new))
    if old_structs.get(before[1]) != new_structs.get(after[1]):
        return None
    source = {name: (at, count) for name, at, count in fields(old_structs[before[2]])}
    moves, size = [], 0
    for name, at, count in fields(new_structs[after[2]]):
        size = at + count
        if name in source and source[name][1] == count and not name.startswith("pad"):
            moves.append((source[name][0], at, count))
    return Conversion(size, tuple(moves))


def fields(body: str) -> Iterator[tuple[str, int, int]]:
    """A struct's fields: name, offset, bytes. Padding is explicit, as in abi.h."""
    offset = 0
    for kind, name, count in FIELD.findall(body):
        size = SIZES[kind] * int(count or 1)
        yield name, offset, size
        offset += size


@dataclass(slots=True)
class Carrying:
    """From the flows below one directory to those below another; carried: so far."""

    old: Path
    new: Path
    convert: Conversion
    carried: dict[bytes, bytes] = field(default_factory=dict)

    def copy(self) -> None:
        """Copy every entry; programs may write meanwhile."""
        self.carry(self.entries())

    def settle(self) -> None:
        """Copy what came or changed since, and forget what went.

        Called while both maps are written. What a new program wrote for a connection
        of this moment gives way to the copy: the old one took its hand-over. And the old
        one has given back what went with a flow that is gone.
        """
        now = self.entries()
        self.carry({key: value for key, value in now.items() if self.carried.get(key) != value})
        # Who is there after the copy was written has it deleted by the new programs.
        now = self.entries()
        with closing(RawFlows(self.new)) as flows:
            for key, value in self.carried.items():
                if key not in now and flows.ask(FlowRequest.GET, key) == value:
                    flows.ask(FlowRequest.FORGET, key)

    def carry(self, found: dict[bytes, bytes]) -> None:
        """Write converted entries. Raises MapFullError."""
        with closing(RawFlows(self.new)) as flows:
            for key, value in found.items():
                if flows.ask(FlowRequest.PUT, key, value) is None:
                    raise MapFullError("flows", flows.max_entries)
        self.carried |= found

    def entries(self) -> dict[bytes, bytes]:
        """The old flows as the new maps hold them; of one not seen before, all of it."""
        found = {}
        with closing(RawFlows(self.old)) as flows:
            for key, value in flows.entries():
                converted = self.convert(value)
                if self.carried.get(key) != converted:
                    whole = flows.ask(FlowRequest.GET, key)
                    if whole is None:
                        continue
                    converted = self.convert(whole)
                found[key] = converted
        return found
