"""How structs and numbers are written as the kernel's maps hold them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, Self, TypeVar

from bpf.errors import LayoutError

K = TypeVar("K")
V = TypeVar("V")


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


def split(packed: bytes, size: int) -> list[bytes]:
    """What lies end to end, one by one."""
    if len(packed) == size:
        return [packed]
    return [packed[start : start + size] for start in range(0, len(packed), size)]
