"""Puts the kernel programs in force, or finds that they are.

A pin directory holds ``maps/``, ``progs/``, ``links/`` and ``meta``, a map of one
entry with the hashes of what is pinned. They are taken away before anything is
replaced and written last: after a load that was killed, the next one sees that
its work isn't done.
"""

from __future__ import annotations

import logging
import os
import struct
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from bpf import bpffs, kernel, links
from bpf.compile import compile_programs
from bpf.errors import LoadError
from bpf.knobs import Knobs
from bpf.sources import CGROUP_PROGRAMS, MAPS, PROGRAMS, Build, build, program_text

log = logging.getLogger(__name__)

NOTHING = Build(programs=bytes(32), maps=bytes(32))
META_KEY = struct.pack("=I", 0)
META_SIZE = 64


class Action(Enum):
    """What a load has to do."""

    ADOPT = "adopt"  # all is there
    SWAP = "swap"  # maps stay, programs are replaced in place
    REBUILD = "rebuild"  # all is made anew


@dataclass(frozen=True, slots=True)
class Pinned:
    """What is found in a pin directory; build: NOTHING unless a load finished."""

    build: Build
    maps: frozenset[str]
    programs: frozenset[str]


@dataclass(frozen=True, slots=True)
class Loaded:
    """How a load went. Neither adopted nor swapped: all was made anew."""

    adopted: bool
    swapped: bool
    seconds: float


def decide(found: Pinned, wanted: Build) -> Action:
    """What is to be done with what is found."""
    if found.build.maps != wanted.maps or not found.maps >= set(MAPS):
        return Action.REBUILD
    complete = found.programs >= {program.name for program in PROGRAMS}
    if found.build.programs != wanted.programs or not complete:
        return Action.SWAP
    return Action.ADOPT


def load(pin_dir: Path, cgroup: Path, knobs: Knobs) -> Loaded:
    """Attach the programs to a cgroup v2 directory, with their maps under pin_dir.

    Connections, flows and enrolled pods survive, unless the maps' layout or sizes
    changed; then pods have to be enrolled again. Takes half a second when it has
    to compile. Raises LoadError, LinkError or KernelError; what was in force stays
    in force when compilation fails.
    """
    started = time.monotonic()
    text = program_text()
    wanted = build(text, knobs)
    bpffs.ensure(pin_dir)
    bpffs.remove(pin_dir / "staging")
    found = inspect(pin_dir)
    action = decide(found, wanted)
    if action is not Action.ADOPT:
        renew(pin_dir, text, knobs, wanted, with_maps=action is Action.REBUILD)
    attach(pin_dir, cgroup)
    write_meta(pin_dir, wanted)
    seconds = time.monotonic() - started
    log.info("kernel programs: %s (%s) in %.2f s", action.value, reason(found, wanted), seconds)
    return Loaded(action is Action.ADOPT, action is Action.SWAP, seconds)


def unload(pin_dir: Path) -> None:
    """Detach every program and remove every pin; nothing if nothing is there."""
    directory = pin_dir / "links"
    for path in sorted(directory.iterdir()) if directory.is_dir() else []:
        links.release(path)
    bpffs.remove(pin_dir)


def reason(found: Pinned, wanted: Build) -> str:
    """Why a load did what it did, in words."""
    if not found.maps:
        return "nothing was pinned"
    if found.build == NOTHING:
        return "an earlier load was cut short"
    if found.build.maps != wanted.maps:
        return "the maps' layout or sizes changed: pods must be enrolled again"
    if found.build.programs != wanted.programs:
        return "the programs changed: maps and connections stay"
    return "the same as pinned"


def inspect(pin_dir: Path) -> Pinned:
    """What is in a pin directory."""
    return Pinned(read_meta(pin_dir), names(pin_dir / "maps"), names(pin_dir / "progs"))


def names(directory: Path) -> frozenset[str]:
    """The names in a directory, none if it doesn't exist."""
    if not directory.is_dir():
        return frozenset()
    return frozenset(path.name for path in directory.iterdir())


def renew(pin_dir: Path, text: str, knobs: Knobs, wanted: Build, *, with_maps: bool) -> None:
    """Compile beside what is pinned, then take its place."""
    staging = pin_dir / "staging"
    for directory in (staging / "maps", staging / "progs"):
        directory.mkdir(parents=True)
    maps = staging / "maps" if with_maps else pin_dir / "maps"
    try:
        compile_programs(text, knobs, maps, staging / "progs")
        kept = NOTHING.maps if with_maps else wanted.maps
        write_meta(pin_dir, Build(programs=NOTHING.programs, maps=kept))
        for name in ("maps", "progs") if with_maps else ("progs",):
            bpffs.remove(pin_dir / name)
            (staging / name).rename(pin_dir / name)
    finally:
        bpffs.remove(staging)


def attach(pin_dir: Path, cgroup: Path) -> None:
    """Link the pinned programs to the cgroup, and to the pods linked before."""
    (pin_dir / "links").mkdir(exist_ok=True)
    try:
        target = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise LoadError(f"cgroup {cgroup}: {error.strerror}") from None
    try:
        for program in CGROUP_PROGRAMS:
            with kernel.pinned(pin_dir / "progs" / program.name) as fd:
                path = pin_dir / "links" / program.name
                # A cgroup's id is its directory's inode number.
                links.settle(path, fd, target, os.fstat(target).st_ino, program.attach)
    finally:
        os.close(target)
    links.update_pods(pin_dir)


def read_meta(pin_dir: Path) -> Build:
    """The hashes of what is pinned."""
    path = pin_dir / "meta"
    if not path.exists():
        return NOTHING
    with kernel.pinned(path) as fd:
        raw = kernel.lookup(fd, META_KEY, META_SIZE, "meta") or bytes(META_SIZE)
    return Build(programs=raw[:32], maps=raw[32:])


def write_meta(pin_dir: Path, made: Build) -> None:
    """Say what is pinned."""
    path = pin_dir / "meta"
    if not path.exists():
        fd = kernel.create_map(kernel.MAP_TYPE_ARRAY, len(META_KEY), META_SIZE, 1, "meta")
        try:
            kernel.pin(fd, path)
        finally:
            os.close(fd)
    with kernel.pinned(path) as fd:
        kernel.update(fd, META_KEY, made.programs + made.maps, "meta")
