"""Puts the kernel programs in force, or finds that they are.

A pin directory holds what is in force, ``maps/``, ``progs/`` and ``meta`` (their
hashes), and ``links/``. Anything new is made in ``staging/``, in the same form, with
the maps that are kept pinned there too. What is in force isn't touched until the
commit:

1. each link gets its new program, in a tight loop, in the order of
   ``sources.PROGRAMS``: readers before writers
2. ``retired/`` is made: from here on, the new is in force
3. old pins move to ``retired/``, new ones to their places, and ``retired/`` goes

A load that finds ``retired/`` finishes step 3; one that finds ``staging/`` alone gives
every link the program in force and begins anew. So a crash at any step costs nothing.

Maps that user space writes are new together, and whoever does write them calls
``commit`` when that is done: until then the old maps serve, unchanged. A map that the
programs write is new alone, but for the two that hold flows.

The flows, on which identity rests, are carried over. Before step 1 they are copied, and
new programs that write them run beside the old ones: a connection of that moment is in
the old maps and in the new, so neither old nor new readers miss it. What such a one is
for (its hand-over) only the old maps tell, until the copies are settled; one that is
redirected to a waypoint between that and the end of step 1, some microseconds, may be
refused. Where the flows' keys have another layout, nothing can be copied:
connections made before go on, but a peer query that isn't answered from its own
socket has no answer.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from bpf import bpffs, elements, kernel, links, meta
from bpf.build import Build, build
from bpf.cache import Cache
from bpf.carry import Carrying, between
from bpf.compile import compiler_flags
from bpf.install import install
from bpf.knobs import Knobs
from bpf.links import Targets
from bpf.sources import (
    CARRIED_BY,
    FLOW_MAPS,
    FLOW_PROGRAM,
    MAPS,
    PROGRAMMED_MAPS,
    PROGRAMS,
    program_text,
)

log = logging.getLogger(__name__)

VIEW = ("progs", "maps", "meta")


class Action(Enum):
    """What a load has to do."""

    ADOPT = "adopted"  # all is there
    SWAP = "swapped"  # what user space wrote stays; programs are replaced in place
    REBUILD = "loaded"  # user space has to write its maps anew


@dataclass(frozen=True, slots=True)
class Pinned:
    """What is found in a pin directory."""

    build: Build
    maps: frozenset[str]
    programs: frozenset[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done; kept: the maps that stay."""

    action: Action
    kept: frozenset[str]


def decide(found: Pinned, wanted: Build) -> Plan:
    """What is to be done with what is found."""
    programmed = set(PROGRAMMED_MAPS)
    same = {
        name
        for name in MAPS
        if name in found.maps and found.build.maps.get(name) == wanted.maps[name]
    }
    if not same.issuperset(FLOW_MAPS):
        same -= set(FLOW_MAPS)
    if not same >= programmed:
        return Plan(Action.REBUILD, frozenset(same - programmed))
    complete = found.programs >= {program.name for program in PROGRAMS}
    if found.build.programs == wanted.programs and complete and same == set(MAPS):
        return Plan(Action.ADOPT, frozenset(same))
    return Plan(Action.SWAP, frozenset(same))


class Stage:
    """Programs and maps that are ready.

    waiting: they aren't in force, but wait for their maps to be written and for
    ``commit``; an older load still serves. view: the directory of ``maps``.
    """

    def __init__(self, pin_dir: Path, targets: Targets, plan: Plan) -> None:
        self.pin_dir = pin_dir
        self.targets = targets
        self.action = plan.action
        self.new_maps = frozenset(MAPS) - plan.kept
        self.carrying: Carrying | None = None
        self.beside: tuple[str, ...] = ()
        self.waiting = False
        self.seconds = 0.0

    @property
    def view(self) -> Path:
        """Where the maps are to be opened."""
        return self.pin_dir / "staging" if self.waiting else self.pin_dir

    def serves(self, map_name: str, key: bytes) -> bool:
        """Whether a map in force has an entry, whatever is in it."""
        with self.in_force(map_name, len(key)) as (fd, size):
            return bool(size) and elements.lookup(fd, key, size, map_name) is not None

    def withdraw(self, map_name: str, key: bytes) -> None:
        """Delete an entry of a map in force."""
        with self.in_force(map_name, len(key)) as (fd, size):
            if size:
                elements.delete(fd, key, map_name)

    @contextlib.contextmanager
    def in_force(self, map_name: str, key_size: int) -> Iterator[tuple[int, int]]:
        """A map in force, open, and its values' size: 0 where its keys are others."""
        path = self.pin_dir / "maps" / map_name
        with kernel.pinned(path) as fd:
            info = kernel.map_info(fd, map_name)
            yield fd, info.value_size if info.key_size == key_size else 0

    def carry_over(self, found: Pinned, wanted: Build) -> None:
        """Plan to carry over the flows in force, if their maps are made anew."""
        readable = found.maps.issuperset(FLOW_MAPS) and FLOW_PROGRAM.name in found.programs
        if readable and self.new_maps.issuperset(FLOW_MAPS):
            convert = between(found.build, wanted)
            if convert is not None:
                self.carrying = Carrying(self.pin_dir, self.pin_dir / "staging", convert)
                self.beside = CARRIED_BY

    def copy(self) -> None:
        """Copy the flows that are carried over; ``commit`` is the shorter for it."""
        if self.carrying:
            self.carrying.copy()

    def commit(self) -> None:
        """Put what was staged in force. Raises LinkError; the old is in force then."""
        with links.Swap(self.pin_dir, self.pin_dir / "staging", self.beside) as swap:
            swap.settle_all(PROGRAMS, self.targets)
            swap.run_beside()
            if self.carrying:
                # An old program that began without the new one beside it may still write.
                kernel.wait_for_programs()
                self.carrying.settle()
            swap.run()
            swap.pin()
        (self.pin_dir / "retired").mkdir()
        finish(self.pin_dir)
        links.release_others(self.pin_dir, PROGRAMS, self.targets)
        self.waiting = False


def load(pin_dir: Path, cgroup: Path | Targets, knobs: Knobs) -> Stage:
    """Attach the programs at once, with their maps under pin_dir.

    Connections, flows and enrolled pods survive, unless the layout or size of the
    maps that hold them changed. Raises as ``stage`` does.
    """
    staged = stage(pin_dir, cgroup, knobs)
    if staged.waiting:
        staged.commit()
    return staged


def stage(pin_dir: Path, cgroup: Path | Targets, knobs: Knobs) -> Stage:
    """Attach the programs, or have them ready where others serve with other maps.

    Takes over a second when programs have to be verified, and some more when there is
    nothing compiled in the cache. Raises LoadError, LinkError or
    KernelError; what was in force stays in force then.
    """
    started = time.monotonic()
    targets = cgroup if isinstance(cgroup, Targets) else Targets(cgroup)
    text = program_text()
    wanted = build(text, knobs, PROGRAMS)
    targets.check()
    bpffs.ensure(pin_dir)
    (pin_dir / "links").mkdir(exist_ok=True)
    finish(pin_dir)
    found = inspect(pin_dir)
    plan = decide(found, wanted)
    staged = Stage(pin_dir, targets, plan)
    if plan.action is Action.ADOPT:
        adopt(pin_dir, targets)
    else:
        serving = links.linked(pin_dir, targets.cgroup)
        compile_beside(pin_dir, text, knobs, plan.kept)
        meta.write(pin_dir / "staging" / "meta", wanted)
        staged.waiting = True
        if serving:
            staged.carry_over(found, wanted)
        if plan.action is Action.SWAP or not serving:
            staged.copy()
            staged.commit()
    staged.seconds = time.monotonic() - started
    log.info(
        "kernel programs: %s (%s) in %.2f s",
        "staged" if staged.waiting else plan.action.value,
        reason(found, wanted, staged.new_maps),
        staged.seconds,
    )
    return staged


def unload(pin_dir: Path) -> None:
    """Detach every program and remove every pin; nothing if nothing is there."""
    directory = pin_dir / "links"
    for path in sorted(directory.iterdir()) if directory.is_dir() else []:
        links.release(path)
    bpffs.remove(pin_dir)


def reason(found: Pinned, wanted: Build, new_maps: frozenset[str]) -> str:
    """Why a load did what it did, in words."""
    if not found.maps:
        return "nothing was pinned"
    if new_maps:
        return f"another layout or size, or not there: {', '.join(sorted(new_maps))}"
    if found.build.programs != wanted.programs:
        return "the programs changed: maps and connections stay"
    return "the same as pinned"


def inspect(pin_dir: Path) -> Pinned:
    """What is in a pin directory."""
    build_found = meta.read(pin_dir / "meta")
    return Pinned(build_found, names(pin_dir / "maps"), names(pin_dir / "progs"))


def names(directory: Path) -> frozenset[str]:
    """The names in a directory, none if it doesn't exist."""
    if not directory.is_dir():
        return frozenset()
    return frozenset(path.name for path in directory.iterdir())


def compile_beside(pin_dir: Path, text: str, knobs: Knobs, kept: frozenset[str]) -> None:
    """Make programs, and the maps that aren't kept, in ``staging``."""
    staging = pin_dir / "staging"
    for directory in (staging / "maps", staging / "progs"):
        directory.mkdir(parents=True)
    try:
        for name in kept:
            with kernel.pinned(pin_dir / "maps" / name) as fd:
                kernel.pin(fd, staging / "maps" / name)
        compiled = Cache().compiled(text, compiler_flags(knobs), PROGRAMS)
        install(compiled, staging / "maps", staging / "progs", PROGRAMS)
    except BaseException:
        bpffs.remove(staging)
        raise


def adopt(pin_dir: Path, targets: Targets) -> None:
    """Link the programs that are pinned."""
    with links.Swap(pin_dir, pin_dir) as swap:
        swap.settle_all(PROGRAMS, targets)
        swap.run()
        swap.pin()
    links.release_others(pin_dir, PROGRAMS, targets)


def finish(pin_dir: Path) -> None:
    """Complete a commit that was begun, or take back what led up to one."""
    retired, staging = pin_dir / "retired", pin_dir / "staging"
    if retired.exists():
        for name in VIEW:
            if (staging / name).exists():
                if (pin_dir / name).exists():
                    (pin_dir / name).rename(retired / name)
                (staging / name).rename(pin_dir / name)
        bpffs.remove(staging)
        bpffs.remove(retired)
    elif staging.exists():
        links.restore(pin_dir)
        bpffs.remove(staging)
