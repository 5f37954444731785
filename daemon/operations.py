"""Operations on maps, as values: what is written and deleted, and what belongs together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from bpf.codecs import U64, split
from bpf.layout import AddressKey, EndpointKey, PortKey, RangeKey
from daemon.scope import TableName

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


def undo(done: Sequence[Operation]) -> tuple[Operation, ...]:
    """What takes back the beginning of a group: the new generation's endpoints."""
    return tuple(
        Delete(operation.table, operation.keys)
        for operation in reversed(done)
        if isinstance(operation, Put) and operation.table == "endpoints" and operation.keys
    )
