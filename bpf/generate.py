"""Writes bpf/layout.py from bpf/include/abi.h: ``python -m bpf.generate [FILE]``.

Reads the small C that abi.h keeps to; anything else is an error, so that a
struct is never mirrored wrongly. FILE: where to write instead.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
HEADER = HERE / "include" / "abi.h"
LAYOUT = HERE / "layout.py"

TYPES = {"__u8": ("B", 1), "__u16": ("H", 2), "__u32": ("I", 4), "__u64": ("Q", 8)}

TOKEN = re.compile(
    r"(?P<comment>/\*.*?\*/)"
    r"|(?P<struct>struct (?P<sname>\w+) \{(?P<sbody>.*?)\};)"
    r"|(?P<enum>enum (?P<ename>\w+) \{(?P<ebody>.*?)\};)"
    r"|(?P<directive>\#[^\n]*)"
    r"|(?P<space>\s+)",
    re.DOTALL,
)
FIELD = re.compile(
    r"\s*(?P<type>\w+) (?P<name>\w+)(\[(?P<count>\d+)\])?;(\s*/\* (?P<comment>[^\n]*?) \*/)?"
)
MEMBER = re.compile(
    r"\s*(?P<name>[A-Z0-9_]+) = (?P<value>\d+),(\s*/\* (?P<comment>[^\n]*?) \*/)?"
)


class HeaderError(Exception):
    """abi.h has something that can't be mirrored."""


@dataclass(frozen=True, slots=True)
class Field:
    """A struct's member; count 0: a scalar; padding has no name in Python."""

    name: str
    type: str
    count: int
    comment: str

    @property
    def padding(self) -> bool:
        """Whether it only fills space: dropped in Python, zero on the wire."""
        return self.name.startswith("pad")

    @property
    def unit(self) -> int:
        """Alignment, and bytes of one element."""
        return 2 if self.type == "__be16" else TYPES[self.type][1]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self.unit * (self.count or 1)

    @property
    def code(self) -> str:
        """Its part of a struct format."""
        if self.padding:
            return f"{self.size}x"
        if self.count or self.type == "__be16":
            return f"{self.size}s"
        return TYPES[self.type][0]


@dataclass(frozen=True, slots=True)
class Declaration:
    """A struct or an enum, with the comment above it."""

    name: str
    comment: str
    fields: tuple[Field, ...] = ()
    members: tuple[tuple[str, int, str], ...] = ()

    @property
    def class_name(self) -> str:
        """address_key → AddressKey."""
        return "".join(part.capitalize() for part in self.name.split("_"))


def parse(text: str) -> list[Declaration]:
    """The structs and enums of abi.h, in order; raises HeaderError."""
    found = []
    comment = ""
    position = 0
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            line = text.count("\n", 0, position) + 1
            raise HeaderError(f"abi.h line {line}: only structs, enums and comments, please")
        position = match.end()
        if match["comment"]:
            comment = prose(match["comment"])
        elif match["struct"]:
            fields = tuple(struct_fields(match["sname"], match["sbody"]))
            found.append(Declaration(match["sname"], comment, fields=fields))
            comment = ""
        elif match["enum"]:
            members = tuple(enum_members(match["ename"], match["ebody"]))
            found.append(Declaration(match["ename"], comment, members=members))
            comment = ""
    return found


def prose(comment: str) -> str:
    """A C comment's words, one line."""
    lines = (line.strip().lstrip("*").strip() for line in comment[2:-2].splitlines())
    return " ".join(line for line in lines if line)


def struct_fields(name: str, body: str) -> Iterator[Field]:
    """A struct's members; raises HeaderError if C would add padding of its own."""
    offset = largest = 0
    for match in whole(FIELD, name, body):
        count = int(match["count"] or 0)
        field = Field(match["name"], match["type"], count, match["comment"] or "")
        if field.type not in {*TYPES, "__be16"} or (field.count and field.type != "__u8"):
            raise HeaderError(f"struct {name}: {field.name} has a type that is not mirrored")
        if offset % field.unit:
            raise HeaderError(f"struct {name}: make the padding before {field.name} explicit")
        offset += field.size
        largest = max(largest, field.unit)
        yield field
    if offset % largest:
        raise HeaderError(f"struct {name}: make the padding at its end explicit")


def enum_members(name: str, body: str) -> Iterator[tuple[str, int, str]]:
    """An enum's members without their common prefix: name, value, comment."""
    matches = list(whole(MEMBER, name, body))
    words = [match["name"].split("_") for match in matches]
    shared = 0
    while all(len(w) > shared + 1 and w[shared] == words[0][shared] for w in words):
        shared += 1
    for match, word in zip(matches, words, strict=True):
        yield "_".join(word[shared:]), int(match["value"]), match["comment"] or ""


def whole(pattern: re.Pattern[str], name: str, body: str) -> Iterator[re.Match[str]]:
    """Matches that cover all of body; raises HeaderError at what is left over."""
    position = 0
    while body[position:].strip():
        match = pattern.match(body, position)
        if match is None:
            raise HeaderError(f"{name}: can't read {body[position:].strip().splitlines()[0]!r}")
        yield match
        position = match.end()


def render(text: str) -> str:
    """layout.py for this abi.h."""
    declarations = parse(text)
    bare = re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)).strip()
    parts = [PREAMBLE.format(hash=hashlib.sha256(bare.encode()).hexdigest()[:16])]
    for declaration in declarations:
        render_one = render_struct if declaration.fields else render_enum
        parts.append("\n".join(render_one(declaration)))
    return "\n\n\n".join(parts) + "\n"


PREAMBLE = '''"""The kernel's structs and enums as Python sees them.

Generated from include/abi.h by bpf/generate.py: don't edit. Addresses are 16
bytes, IPv4 as v4-mapped; every number, ports too, is in host order here.
``pack`` raises LayoutError for a value that doesn't fit its field.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import ClassVar, Self

from bpf.errors import LayoutError

#: Changes when any struct or enum does.
LAYOUT_HASH = "{hash}"


def be16(name: str, value: int) -> bytes:
    """A port in network order."""
    if not 0 <= value <= 0xFFFF:
        raise LayoutError(f"{{name}}={{value}} is no port: must be 0 to 65535")
    return value.to_bytes(2, "big")


def exactly(size: int, name: str, value: bytes) -> bytes:
    """Bytes of a fixed length."""
    if len(value) != size:
        raise LayoutError(f"{{name}}={{value!r}} has {{len(value)}} bytes, not {{size}}")
    return value'''


def render_enum(enum: Declaration) -> Iterator[str]:
    """An enum's class; a member MAX counts the others and becomes a constant."""
    base = "IntFlag" if enum.name.endswith("_flag") else "IntEnum"
    yield f"class {enum.class_name}({base}):"
    yield f'    """{sentence(enum)}"""'
    yield ""
    for name, value, comment in enum.members:
        if name != "MAX":
            yield f"    {name} = {value}" + (f"  # {comment}" if comment else "")


def render_struct(mirrored: Declaration) -> Iterator[str]:
    """A struct's dataclass; what isn't said is zero, as in the kernel."""
    kept = [field for field in mirrored.fields if not field.padding]
    yield "@dataclass(frozen=True, slots=True)"
    yield f"class {mirrored.class_name}:"
    yield f'    """{sentence(mirrored)}"""'
    yield ""
    for field in kept:
        kind = f"bytes = bytes({field.count})" if field.count else "int = 0"
        yield f"    {field.name}: {kind}" + (f"  # {field.comment}" if field.comment else "")
    yield ""
    codes = "".join(field.code for field in mirrored.fields)
    yield f'    FORMAT: ClassVar[struct.Struct] = struct.Struct("={codes}")'
    yield f"    SIZE: ClassVar[int] = {sum(field.size for field in mirrored.fields)}"
    yield ""
    yield "    def pack(self) -> bytes:"
    yield f'        """As ``struct {mirrored.name}``."""'
    yield "        try:"
    yield "            return self.FORMAT.pack("
    for field in kept:
        yield f"                {packed(field)},"
    yield "            )"
    yield "        except struct.error as error:"
    yield '            raise LayoutError(f"{self}: {error}") from None'
    yield ""
    yield "    @classmethod"
    yield "    def unpack(cls, raw: bytes) -> Self:"
    yield f'        """From ``struct {mirrored.name}``; LayoutError for another length."""'
    yield "        if len(raw) != cls.SIZE:"
    yield '            raise LayoutError(f"{cls.__name__}: {len(raw)} bytes, not {cls.SIZE}")'
    yield "        values = cls.FORMAT.unpack(raw)"
    yield "        return cls("
    for number, field in enumerate(kept):
        yield f"            {unpacked(field, f'values[{number}]')},"
    yield "        )"


def packed(field: Field) -> str:
    """The expression that a field is packed from."""
    if field.type == "__be16":
        return f'be16("{field.name}", self.{field.name})'
    if field.count:
        return f'exactly({field.count}, "{field.name}", self.{field.name})'
    return f"self.{field.name}"


def unpacked(field: Field, value: str) -> str:
    """The expression that a field is unpacked to."""
    return f'int.from_bytes({value}, "big")' if field.type == "__be16" else value


def sentence(declaration: Declaration) -> str:
    """The comment above a declaration as a docstring, wrapped."""
    keyword = "struct" if declaration.fields else "enum"
    text = declaration.comment or f"Mirrors {keyword} {declaration.name}."
    text = text if text.endswith(".") else text + "."
    first, *rest = text.split(" ")
    lines = [first]
    for word in rest:
        if len(lines[-1]) + len(word) > 80:
            lines.append(word)
        else:
            lines[-1] += f" {word}"
    return "\n    ".join(lines) + ("\n    " if len(lines) > 1 else "")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else LAYOUT
    target.write_text(render(HEADER.read_text()))
