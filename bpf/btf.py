"""Numbers of the kernel's own structs and enums, read from its type information.

The format is Documentation/bpf/btf.rst of the kernel's sources: a header, types of
12 bytes and what their kind adds, and the strings that they name by offset.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

log = logging.getLogger(__name__)

VMLINUX = Path("/sys/kernel/btf/vmlinux")
MAGIC = 0xEB9F
HEADER = struct.Struct("=HBBIIIII")
TYPE = struct.Struct("=III")  # name, info, size or type
ENUMERATOR = struct.Struct("=Ii")  # name, value
STRUCT, ENUM = 4, 6
#: Bytes after a type, by kind: once, and for each of its members.
ONCE = {1: 4, 3: 12, 14: 4, 17: 4}
EACH = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}

#: What the programs need, as C macros: a member's offset or an enumerator's value.
WANTED = {
    "SOCK_USER_DATA": ("sock", "sk_user_data"),
    "SOCK_SOCKET": ("sock", "sk_socket"),
    "SOCKET_FILE": ("socket", "file"),
    "FILE_FLAGS": ("file", "f_flags"),
    "SOCK_FLAGS": ("sock_common", "skc_flags"),
    "SOCK_FLAG_ZEROCOPY": ("sock_flags", "SOCK_ZEROCOPY"),
    "PSOCK_INGRESS_MSG": ("sk_psock", "ingress_msg"),
    "TCP_WRITE_SEQ": ("tcp_sock", "write_seq"),
}


def macros(source: Path = VMLINUX) -> dict[str, int]:
    """Every macro of WANTED; none where the kernel doesn't tell them all."""
    try:
        raw = source.read_bytes()
    except OSError as error:
        log.warning("no acceleration: %s: %s", source, error.strerror)
        return {}
    found = numbers(raw, WANTED)
    if missing := WANTED.keys() - found.keys():
        log.warning("no acceleration: %s doesn't tell %s", source, ", ".join(sorted(missing)))
        return {}
    return found


def numbers(raw: bytes, wanted: Mapping[str, tuple[str, str]]) -> dict[str, int]:
    """Offsets of members in bytes, and values of enumerators; what isn't known is left out.

    wanted: (struct or enum, member or enumerator), by what it is to be called.
    """
    if len(raw) < HEADER.size or HEADER.unpack_from(raw)[0] != MAGIC:
        return {}
    types = Types(raw)
    found = {}
    for macro, (outer, inner) in wanted.items():
        value = types.number(outer, inner)
        if value is not None:
            found[macro] = value
    return found


class Types:
    """The types of one kernel, by number; 0 is void."""

    def __init__(self, raw: bytes) -> None:
        _magic, _version, _flags, header, types, size, names, names_size = HEADER.unpack_from(
            raw
        )
        self.raw = raw
        self.names = raw[header + names : header + names + names_size]
        self.places = [0]
        position, end = header + types, header + types + size
        while position < end:
            self.places.append(position)
            info = TYPE.unpack_from(raw, position)[1]
            kind, count = info >> 24 & 31, info & 0xFFFF
            position += TYPE.size + ONCE.get(kind, 0) + EACH.get(kind, 0) * count

    def number(self, outer: str, inner: str) -> int | None:
        """Of the first struct or enum of a name, or None."""
        name = self.names.find(f"\0{outer}\0".encode()) + 1
        for place in self.places[1:] if name else ():
            found, info, _size = TYPE.unpack_from(self.raw, place)
            if found == name and info >> 24 & 31 == STRUCT:
                return self.offset(place, inner)
            if found == name and info >> 24 & 31 == ENUM:
                return next((v for n, v in self.enumerators(place) if n == inner), None)
        return None

    def offset(self, place: int, wanted: str) -> int | None:
        """Where a member is in a struct or union, or in one without a name in that."""
        info = TYPE.unpack_from(self.raw, place)[1]
        for index in range(info & 0xFFFF):
            at = place + TYPE.size + index * EACH[STRUCT]
            name, kind, bits = TYPE.unpack_from(self.raw, at)
            # The struct's flag means that the high byte is a bit field's width.
            here: int = (bits & 0xFFFFFF if info >> 31 else bits) // 8
            if self.text(name) == wanted:
                return here
            if not name and (inside := self.offset(self.places[kind], wanted)) is not None:
                return here + inside
        return None

    def enumerators(self, place: int) -> Iterator[tuple[str, int]]:
        """An enum's names and values."""
        count = TYPE.unpack_from(self.raw, place)[1] & 0xFFFF
        for index in range(count):
            name, value = ENUMERATOR.unpack_from(self.raw, place + TYPE.size + index * 8)
            yield self.text(name), value

    def text(self, name: int) -> str:
        """A name."""
        return self.names[name : self.names.find(b"\0", name)].decode()
