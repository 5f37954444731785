"""What the compiler makes of the sources: programs and maps, not in the kernel yet."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass

#: struct bpf_insn; the one that loads 64 bits, of a map where its source register says so.
INSTRUCTION = struct.Struct("=BBhi")
LOAD_64, PSEUDO_MAP_FD = 0x18, 1


@dataclass(frozen=True, slots=True)
class MapSpec:
    """How a map is made: the kernel's map type, sizes in bytes, BPF_F_* flags.

    key_type, value_type: the numbers of its types in the object's BTF; 0 for none.
    """

    name: str
    kind: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    key_type: int
    value_type: int


@dataclass(frozen=True, slots=True)
class Compiled:
    """Programs and maps, as the compiler made them.

    programs: instructions by name, 8 bytes each; one that names a map holds its index
    in ``maps`` where the kernel wants a file descriptor. btf: the maps' types.
    """

    programs: Mapping[str, bytes]
    maps: tuple[MapSpec, ...]
    btf: bytes


def dump(compiled: Compiled) -> str:
    """As JSON."""
    return json.dumps(
        {
            "programs": {name: packed(code) for name, code in compiled.programs.items()},
            "maps": [astuple(spec) for spec in compiled.maps],
            "btf": packed(compiled.btf),
        }
    )


def parse(text: str) -> Compiled:
    """What ``dump`` wrote. Raises ValueError, KeyError or TypeError for anything else."""
    found = json.loads(text)
    return Compiled(
        {name: base64.b64decode(code) for name, code in found["programs"].items()},
        tuple(MapSpec(*fields) for fields in found["maps"]),
        base64.b64decode(found["btf"]),
    )


def packed(raw: bytes) -> str:
    """Bytes in JSON."""
    return base64.b64encode(raw).decode()


def relocated(code: bytes, of: Callable[[int], int]) -> bytes:
    """Instructions with another number in place of each map's; of: the new for the old."""
    made = bytearray(code)
    for offset in range(0, len(code), INSTRUCTION.size):
        operation, registers, jump, number = INSTRUCTION.unpack_from(code, offset)
        if operation == LOAD_64 and registers >> 4 == PSEUDO_MAP_FD:
            INSTRUCTION.pack_into(made, offset, operation, registers, jump, of(number))
    return bytes(made)
