"""What a load is made of: its programs, by hash, and each map's layout.

A map's layout is its declaration, the definitions of the structs that it uses, and
the numbers behind its sizes. Enums aren't part of it: their numbers are never given
another meaning, so a map's content outlives a new flag or counter.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from bpf.errors import LoadError
from bpf.knobs import Knobs
from bpf.sources import Program

COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
MACRO = re.compile(r"^#define (\w+)\(([^)]*)\)((?:.*\\\n)*.*)$", re.MULTILINE)
DIRECTIVE = re.compile(r"^#(?:.*\\\n)*.*$", re.MULTILINE)
MAP = re.compile(
    r'BPF_(?:F_)?TABLE\("\w+", [^,]+, [^,]+, (\w+),'
    r'|.*section\("maps/\w+"\)\S* struct \S+ (\w+) ='
)
DEFINED = re.compile(r"struct (\w+) \{")
USED = re.compile(r"\bstruct (\w+)")
NAME = re.compile(r"\b[A-Z][A-Z0-9_]+\b")


@dataclass(frozen=True, slots=True)
class Build:
    """What is compared.

    programs: a hash of all that decides what the programs do; maps: each map's layout.
    """

    programs: str = ""
    maps: Mapping[str, str] = field(default_factory=dict)


def build(text: str, knobs: Knobs, programs: Iterable[Program]) -> Build:
    """The identity of this text with these sizes, its programs so attached."""
    sizes = sorted(knobs.macros().items())
    whole = f"{text}\0{sizes}\0{[repr(program) for program in programs]}"
    return Build(hashlib.sha256(whole.encode()).hexdigest(), map_layouts(text, knobs))


def map_layouts(text: str, knobs: Knobs) -> dict[str, str]:
    """Each map's layout as a text; equal texts, equal layouts."""
    bare = COMMENT.sub(" ", text)
    macros = {name: (arguments, body) for name, arguments, body in MACRO.findall(bare)}
    found = list(statements(bare))
    structs = {
        match[1]: statement for statement in found if (match := DEFINED.match(statement))
    }
    numbers = dict(re.findall(r"\b([A-Z][A-Z0-9_]+) = (\d+)", bare))
    numbers |= {name: str(size) for name, size in knobs.macros().items()}
    layouts = {}
    for statement in found:
        declaration = expanded(statement, macros)
        if declared := MAP.match(declaration):
            name = declared[1] or declared[2]
            sized = NAME.sub(lambda size: numbers.get(size[0], size[0]), declaration)
            parts = [sized, *(structs[used] for used in closure(declaration, structs))]
            layouts[name] = "\n".join(parts)
    return layouts


def statements(bare: str) -> Iterator[str]:
    """What is declared outside of functions, each on one line; functions are left out."""
    plain = DIRECTIVE.sub("", bare)
    depth = start = 0
    for match in re.finditer(r"\n\}\n|[{};]", plain):
        mark = match[0]
        depth += (mark == "{") - (mark.strip() == "}")
        if depth == 0 and mark == ";":
            yield " ".join(plain[start : match.start()].split())
        if depth == 0 and mark != "}":
            start = match.end()


def expanded(statement: str, macros: Mapping[str, tuple[str, str]]) -> str:
    """A declaration with the macro that makes it, if it is one of ours, in its place."""
    call = re.fullmatch(r"(\w+)\((.*)\)", statement)
    if call is None or call[1] not in macros:
        return statement
    parameters = [name.strip() for name in macros[call[1]][0].split(",")]
    arguments = [argument.strip() for argument in call[2].split(",")]
    if len(parameters) != len(arguments):
        raise LoadError(f"{statement}: {call[1]} takes {len(parameters)} arguments")
    made = " ".join(macros[call[1]][1].replace("\\\n", " ").split())
    for name, argument in zip(parameters, arguments, strict=True):
        plain = argument.replace("\\", r"\\")
        made = re.sub(rf"#\s*{name}\b", f'"{plain}"', made)
        made = re.sub(rf"\b{name}\b", plain, made)
    return made


def closure(declaration: str, structs: Mapping[str, str]) -> list[str]:
    """The structs that a declaration uses, and those that they use, each once."""
    found: list[str] = []
    waiting = USED.findall(declaration)
    while waiting:
        name = waiting.pop(0)
        if name in structs and name not in found:
            found.append(name)
            waiting += USED.findall(structs[name])
    return found
