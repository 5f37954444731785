"""What the maps should hold, and the keys of it that an update may have changed.

Keys and values are packed, as the kernel holds them; fields have the maps' names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

#: The maps that hold one entry per key.
TableName = Literal["pods", "members", "addresses", "ranges", "ports"]
TABLES: Final[tuple[TableName, ...]] = ("pods", "members", "addresses", "ranges", "ports")
#: Those of enrolled processes: by netns cookie, and by cgroup id.
ENROLLED: Final[tuple[TableName, ...]] = ("pods", "members")
#: Those that lead to the ports, in the order in which a kernel program looks.
PLACES: Final[tuple[TableName, ...]] = ("addresses", "ranges")


@dataclass(slots=True)
class Content:
    """What should be there; ports: an endpoint set in the place of a record."""

    pods: dict[bytes, bytes] = field(default_factory=dict)
    members: dict[bytes, bytes] = field(default_factory=dict)
    addresses: dict[bytes, bytes] = field(default_factory=dict)
    ranges: dict[bytes, bytes] = field(default_factory=dict)
    ports: dict[bytes, bytes] = field(default_factory=dict)

    def of(self, table: TableName) -> dict[bytes, bytes]:
        """One map's content."""
        content: dict[bytes, bytes] = getattr(self, table)
        return content

    def whole(self) -> Scope:
        """All keys that have content."""
        return Scope(*(set(self.of(table)) for table in TABLES))


@dataclass(slots=True)
class Scope:
    """Keys to compare."""

    pods: set[bytes] = field(default_factory=set)
    members: set[bytes] = field(default_factory=set)
    addresses: set[bytes] = field(default_factory=set)
    ranges: set[bytes] = field(default_factory=set)
    ports: set[bytes] = field(default_factory=set)

    def __len__(self) -> int:
        return sum(len(self.of(table)) for table in TABLES)

    def of(self, table: TableName) -> set[bytes]:
        """One map's keys."""
        keys: set[bytes] = getattr(self, table)
        return keys

    def add(self, other: Scope) -> None:
        """Widen this scope by another."""
        for table in TABLES:
            self.of(table).update(other.of(table))
