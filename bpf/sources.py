"""The kernel programs as one text for BCC, and what identifies a load of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bpf.kernel import AttachType, ProgType
from bpf.knobs import Knobs
from bpf.layout import LAYOUT_HASH

HERE = Path(__file__).parent
INCLUDE = re.compile(r'#include "(?P<path>[^"]+)"')


@dataclass(frozen=True, slots=True)
class Program:
    """One hook: the function's name is its pin's name too."""

    name: str
    kind: ProgType
    attach: AttachType


CGROUP_PROGRAMS = (
    Program("connect4", ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_CONNECT),
    Program("connect6", ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET6_CONNECT),
    Program("getpeername4", ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_GETPEERNAME),
    Program("getpeername6", ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET6_GETPEERNAME),
    Program("sockops", ProgType.SOCK_OPS, AttachType.CGROUP_SOCK_OPS),
    Program("getsockopt", ProgType.CGROUP_SOCKOPT, AttachType.CGROUP_GETSOCKOPT),
)
POD_PROGRAM = Program("sk_lookup", ProgType.SK_LOOKUP, AttachType.SK_LOOKUP)
PROGRAMS = (*CGROUP_PROGRAMS, POD_PROGRAM)
MAPS = (
    "pods",
    "addresses",
    "ports",
    "endpoints",
    "flows",
    "pending",
    "counters",
    "answers",
)


@dataclass(frozen=True, slots=True)
class Build:
    """What a load is made of. Each hash: 32 bytes.

    programs: of all that decides what the programs do; maps: of all that decides
    what the maps look like. Maps outlive a change of programs.
    """

    programs: bytes
    maps: bytes


def build(text: str, knobs: Knobs) -> Build:
    """The identity of this text with these sizes."""
    shapes = (HERE / "include" / "maps.h").read_text()
    sizes = repr(sorted(knobs.macros().items()))
    return Build(
        programs=hashlib.sha256(f"{text}\0{sizes}\0{LAYOUT_HASH}".encode()).digest(),
        maps=hashlib.sha256(f"{shapes}\0{sizes}\0{LAYOUT_HASH}".encode()).digest(),
    )


def program_text() -> str:
    """All programs, each local header once, where it is first included.

    One text, because BCC rewrites map accesses in the main file only. Messages
    still name the files: each piece says where it is from.
    """
    seen: set[Path] = set()
    paths = sorted((HERE / "src").glob("*.bpf.c"))
    return "\n".join(line for path in paths for line in flattened(path, seen)) + "\n"


def flattened(path: Path, seen: set[Path]) -> Iterator[str]:
    """A file's lines, with local headers in the place of their includes."""
    if path in seen:
        return
    seen.add(path)
    shown = path.relative_to(HERE.parent)
    yield f'#line 1 "{shown}"'
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        include = INCLUDE.fullmatch(line)
        if include:
            yield from flattened((path.parent / include["path"]).resolve(), seen)
            yield f'#line {number + 1} "{shown}"'
        else:
            yield line
