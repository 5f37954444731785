"""Links: programs attached to cgroups and to network namespaces.

A pinned link outlives its process and, in a useless state, its target too: links
of targets that are gone are released here.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from bpf import kernel
from bpf.errors import KernelError, LinkError, LoadError
from bpf.sources import CGROUP_PROGRAMS, HOST_PROGRAM, POD_PROGRAM, Place, Program

PREFIX = "pod_"
MEMBER_PREFIX = "member_"
HINTS = {
    errno.EPERM: "an exclusive program is attached to an ancestor, or privilege is missing",
    errno.E2BIG: "64 programs are attached already",
    errno.EBUSY: "a program that allows no other is attached already",
}


@dataclass(frozen=True, slots=True)
class Targets:
    """What a node's programs are attached to, besides pods and maps.

    cgroup: the cgroup v2 directory above all pods; probes: the one of what makes
    probes. Programs for what isn't given aren't attached.
    """

    cgroup: Path
    probes: Path | None = None

    def of(self, place: Place) -> Path | None:
        """The file or directory of a place, if it has one."""
        return {
            Place.CGROUP: self.cgroup,
            Place.PROBE: self.probes,
        }.get(place)

    def check(self) -> None:
        """Raises LoadError naming what isn't there."""
        for path in (self.cgroup, self.probes):
            if path is not None:
                os.close(open_target(path))


def attach_pod(pin_dir: Path, name: str, netns_fd: int) -> None:
    """Guard a pod's network namespace; nothing changes if it is guarded already.

    name: the pod's, any text that is unique on this node. Raises LinkError.
    """
    attach(pin_dir, [(pod_path(pin_dir, name), POD_PROGRAM)], netns_fd)


def attach(pin_dir: Path, planned: Iterable[tuple[Path, Program]], target: int) -> None:
    """Make paths links of pinned programs to an open target, all or none."""
    with Swap(pin_dir, pin_dir) as swap:
        for path, program in planned:
            swap.settle(path, program, os.dup(target))
        swap.run()
        swap.pin()


def attach_member(pin_dir: Path, cgroup: int) -> None:
    """Put the hooks on a cgroup that isn't below the node's; cgroup: its open directory.

    Nothing changes if they are there already. Raises LinkError.
    """
    number = os.fstat(cgroup).st_ino
    attach(pin_dir, [(member_path(pin_dir, number, p), p) for p in CGROUP_PROGRAMS], cgroup)


def detach_member(pin_dir: Path, number: int) -> None:
    """Take the hooks off a cgroup, by its id; nothing if they aren't on it."""
    for program in CGROUP_PROGRAMS:
        release(member_path(pin_dir, number, program))


def attached_members(pin_dir: Path) -> set[int]:
    """Ids of cgroups with hooks of their own; links of those that are gone are released."""
    numbers = set()
    for path in sorted((pin_dir / "links").glob(f"{MEMBER_PREFIX}*")):
        with kernel.pinned(path) as link:
            number = kernel.link_info(link, path.name).target
        if number:
            numbers.add(number)
        else:
            release(path)
    return numbers


def attach_host(pin_dir: Path, netns_fd: int) -> None:
    """Guard what enrolled cgroups listen on in the node's own network namespace."""
    attach(pin_dir, [(pin_dir / "links" / HOST_PROGRAM.name, HOST_PROGRAM)], netns_fd)


def detach_host(pin_dir: Path) -> None:
    """Stop guarding the node's own network namespace."""
    release(pin_dir / "links" / HOST_PROGRAM.name)


def detach_pod(pin_dir: Path, name: str) -> None:
    """Stop guarding a pod's network namespace; nothing if it isn't guarded."""
    release(pod_path(pin_dir, name))


def attached_pods(pin_dir: Path) -> set[str]:
    """Names of the pods that are guarded; links of dead ones are released."""
    names = set()
    for path in pod_links(pin_dir):
        with kernel.pinned(path) as link:
            alive = kernel.link_info(link, path.name).target != 0
        if alive:
            names.add(unquote(path.name.removeprefix(PREFIX)))
        else:
            release(path)
    return names


@dataclass(slots=True, eq=False)
class Step:
    """One replacement, everything open for it.

    new: the program; link: the one to update, or None yet; old: the program that it
    has now; target: what it links to, where that is given, or the map of a program
    that is attached to one.
    """

    path: Path
    new: int
    program: Program | None = None
    link: int | None = None
    old: int | None = None
    target: int | None = None

    def do(self) -> None:
        """Put the new program in force; raises KernelError."""
        name = self.path.name
        if self.link is not None:
            try:
                kernel.update_link(self.link, self.new, name)
            except KernelError:
                # A pod's netns may have ended just now.
                if self.target is not None or kernel.link_info(self.link, name).target:
                    raise
        elif self.program is not None and self.target is not None:
            attach = self.program.attach
            if self.program.place is Place.SOCKHASH:
                kernel.attach_to_map(self.new, self.target, attach, name)
            else:
                self.link = kernel.create_link(self.new, self.target, attach, name)

    def undo(self) -> None:
        """Put the old program in force again; a link made by ``do`` ends when closed."""
        if self.link is not None and self.old is not None:
            with contextlib.suppress(KernelError):
                kernel.update_link(self.link, self.old, self.path.name)

    def close(self) -> None:
        """Close what is open."""
        for fd in (self.new, self.link, self.old, self.target):
            if fd is not None:
                os.close(fd)


class Swap:
    """Puts programs in force in three steps, the second as short as can be.

    settle: plan, with everything opened. run: replace, link by link; no link is
    without a program at any moment, and at the first failure all get their old
    ones back. pin: name the links that are new. view: the directory with ``progs``
    and ``maps``; beside: programs that ``run_beside`` attaches to run after their
    older selves, which end with ``pin``. Raises LinkError. Closes what it holds at the
    end of a with block.
    """

    def __init__(self, pin_dir: Path, view: Path, beside: tuple[str, ...] = ()) -> None:
        self.pin_dir = pin_dir
        self.view = view
        self.beside = beside
        self.steps: list[Step] = []
        self.done: list[Step] = []

    def __enter__(self) -> Swap:
        return self

    def __exit__(self, *_: object) -> None:
        for step in self.steps:
            step.close()

    def settle_all(self, programs: tuple[Program, ...], targets: Targets) -> None:
        """Plan for every program, in this order, and for every pod that is linked."""
        for program in programs:
            path = self.pin_dir / "links" / program.name
            if program.place is Place.SOCKHASH:
                sockets = kernel.open_pin(self.view / "maps" / program.sockhash)
                self.steps.append(Step(path, self.open(program.name), program, target=sockets))
            elif program.place is Place.POD:
                for pod in pod_links(self.pin_dir):
                    self.replace(pod, program.name)
            elif program.place is Place.HOST:
                if path.exists():
                    self.replace(path, program.name)
            elif (target := targets.of(program.place)) is not None:
                self.settle(path, program, open_target(target))
            if program.place is Place.CGROUP:
                for member in (self.pin_dir / "links").glob(f"{MEMBER_PREFIX}*_{program.name}"):
                    self.replace(member, program.name)

    def settle(self, path: Path, program: Program, target: int) -> None:
        """Plan to make path a link to an open target, which is closed at the end.

        A link that is there is kept if the target is the same. The kernel calls a
        target by its inode number: a cgroup's id is its directory's.
        """
        identity = os.fstat(target).st_ino
        step = Step(path, self.open(program.name), program, target=target)
        self.steps.append(step)
        if not path.exists() or program.name in self.beside:
            return
        link = kernel.open_pin(path)
        if kernel.link_info(link, path.name).target == identity:
            step.link = link
            self.keep_old(step)
        else:
            os.close(link)

    def replace(self, path: Path, name: str) -> None:
        """Plan to give a link that is there another program, whatever its target."""
        try:
            link = kernel.open_pin(path)
        except KernelError as error:
            if error.errno == errno.ENOENT:  # its pod left just now
                return
            raise
        step = Step(path, self.open(name), link=link)
        self.steps.append(step)
        self.keep_old(step)

    def keep_old(self, step: Step) -> None:
        """Remember the program of a step's link, if it is another."""
        assert step.link is not None
        found = kernel.link_info(step.link, step.path.name)
        if found.target == 0 or found.program == kernel.program_id(step.new, step.path.name):
            self.steps.remove(step)
            step.close()
        else:
            step.old = kernel.open_program(found.program, step.path.name)

    def open(self, name: str) -> int:
        """A program of the view."""
        return kernel.open_pin(self.view / "progs" / name)

    def run_beside(self) -> None:
        """Do what begins beside its older self."""
        self.do([s for s in self.steps if s.program and s.program.name in self.beside])

    def run(self) -> None:
        """Do all the rest, or take everything back."""
        self.do([step for step in self.steps if step not in self.done])

    def do(self, steps: list[Step]) -> None:
        """Do these steps, or take everything back."""
        try:
            for step in steps:
                self.done.append(step)
                step.do()
        except KernelError as error:
            for step in reversed(self.done):
                step.undo()
            hint = HINTS.get(error.errno or 0)
            raise LinkError(f"{error}" + (f" ({hint})" if hint else "")) from error

    def pin(self) -> None:
        """Pin the links that were made; what was pinned in their places goes."""
        for step in self.steps:
            if step.link is not None and step.old is None:
                release(step.path)
                kernel.pin(step.link, step.path)


def restore(pin_dir: Path) -> None:
    """Give every link the program that is in force, after a swap that was cut short."""
    with Swap(pin_dir, pin_dir) as swap:
        for path in sorted((pin_dir / "links").glob("*")):
            name = program_of(path)
            if (pin_dir / "progs" / name).exists():
                swap.replace(path, name)
        swap.run()


def release_others(pin_dir: Path, programs: tuple[Program, ...], targets: Targets) -> None:
    """Release links that no program has a use for, and those of dead pods."""
    attached_pods(pin_dir)
    attached_members(pin_dir)
    wanted = {program.name for program in programs if targets.of(program.place) is not None}
    for path in (pin_dir / "links").iterdir():
        lasting = (
            path.name.startswith((PREFIX, MEMBER_PREFIX)) or path.name == HOST_PROGRAM.name
        )
        if path.name not in wanted and not lasting:
            release(path)


def program_of(path: Path) -> str:
    """The name of the program that a link is of."""
    if path.name.startswith(PREFIX):
        return POD_PROGRAM.name
    if path.name.startswith(MEMBER_PREFIX):
        return path.name.split("_", 2)[2]
    return path.name


def member_path(pin_dir: Path, number: int, program: Program) -> Path:
    """A cgroup's link to one of the hooks."""
    return pin_dir / "links" / f"{MEMBER_PREFIX}{number:x}_{program.name}"


def linked(pin_dir: Path, target: Path) -> bool:
    """Whether any program is linked to a target."""
    number = target.stat().st_ino
    for path in (pin_dir / "links").glob("*"):
        with kernel.pinned(path) as link:
            if kernel.link_info(link, path.name).target == number:
                return True
    return False


def open_target(path: Path) -> int:
    """A cgroup's directory or a netns's file; raises LoadError."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}") from None


def release(path: Path) -> None:
    """Detach and unpin a link, if it is there."""
    if not path.exists():
        return
    with kernel.pinned(path) as link, contextlib.suppress(KernelError):
        kernel.detach_link(link, path.name)  # fails when its target is gone
    path.unlink(missing_ok=True)


def pod_links(pin_dir: Path) -> Iterator[Path]:
    """The pinned links of pods."""
    yield from sorted((pin_dir / "links").glob(f"{PREFIX}*"))


def pod_path(pin_dir: Path, name: str) -> Path:
    """A pod's link; bpffs refuses dots and slashes in names."""
    pin_name = PREFIX + quote(name, safe="").replace(".", "%2E")
    if len(pin_name) > 255:
        raise LinkError(f"pod name {name!r} is too long for a pin")
    return pin_dir / "links" / pin_name
