"""What membership does to a cgroup; everything here blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from bpf import mounts
from bpf.errors import BpfError
from bpf.links import (
    attach_host,
    attach_member,
    attached_members,
    detach_host,
    detach_member,
)
from bpf.netns import in_netns
from daemon.errors import EnrollError
from daemon.sock_diag import SockDiag, TcpState


class Cgroups(Protocol):
    """The effects of membership outside of the maps."""

    def identify(self, cgroup: Path) -> tuple[int, int]:
        """A cgroup's id, and how far below the root it is; raises EnrollError."""
        ...

    def attach(self, cgroup: Path, caller: Path | None) -> None:
        """Put the hooks on a cgroup and on its network namespace; raises EnrollError.

        caller: the netns of who asks, which a cgroup without processes is thought to
        be in; None keeps the one that is guarded.
        """
        ...

    def detach(self, number: int) -> None:
        """Take back what ``attach`` put on a cgroup; harmless when nothing is."""
        ...

    def release(self) -> None:
        """No cgroup is a member any more."""
        ...

    def attached(self) -> set[int]:
        """Ids of the cgroups that have hooks of their own."""
        ...

    def listened(self, cgroup: Path) -> set[int]:
        """The TCP ports that a cgroup's processes listen on; raises EnrollError."""
        ...

    def home(self, cgroup: Path, caller: Path | None = None) -> int | None:
        """The network namespace of a cgroup's processes, open; None if there is none.

        caller: as for ``attach``.
        """
        ...


class KernelCgroups:
    """Hooks on cgroups outside of the node's own; those below it have them already."""

    def __init__(self, pin_dir: Path, root: Path) -> None:
        self.pin_dir = pin_dir
        self.root = root

    def identify(self, cgroup: Path) -> tuple[int, int]:
        """A cgroup's id, and how far below the root it is; raises EnrollError."""
        if not cgroup.is_absolute() or not cgroup.is_dir():
            raise EnrollError(f"cgroup {cgroup}: there is no such directory")
        if mounts.kind_at(cgroup, mounts.current()) != "cgroup2":
            raise EnrollError(f"cgroup {cgroup}: not in the cgroup v2 file system")
        if cgroup == self.root or cgroup in self.root.parents:
            raise EnrollError(f"cgroup {cgroup}: the node's pods are below it")
        return cgroup.stat().st_ino, depth(cgroup)

    def attach(self, cgroup: Path, caller: Path | None) -> None:
        """Put the hooks on a cgroup and on its network namespace; raises EnrollError."""
        try:
            home = netns_of(cgroup) or caller
            if home is not None:
                with opened(home) as netns:
                    attach_host(self.pin_dir, netns)
            if self.root not in cgroup.parents:
                with opened(cgroup) as directory:
                    attach_member(self.pin_dir, directory)
        except (BpfError, OSError) as error:
            raise EnrollError(f"cgroup {cgroup}: can't be attached to: {error}") from error

    def detach(self, number: int) -> None:
        """Take back what ``attach`` put on a cgroup; harmless when nothing is."""
        detach_member(self.pin_dir, number)

    def release(self) -> None:
        """No cgroup is a member any more."""
        detach_host(self.pin_dir)

    def attached(self) -> set[int]:
        """Ids of the cgroups that have hooks of their own."""
        return attached_members(self.pin_dir)

    def listened(self, cgroup: Path) -> set[int]:
        """The TCP ports that a cgroup's processes listen on; raises EnrollError.

        By the sockets of its processes, for a socket doesn't say its cgroup before
        Linux 5.8 and a process that was moved keeps its sockets.
        """
        home = netns_of(cgroup)
        if home is None:
            return set()
        try:
            inodes = set(socket_inodes(cgroup))
            with opened(home) as netns, in_netns(netns), closing(SockDiag()) as diag:
                listening = diag.dump(TcpState.LISTEN)
        except (BpfError, OSError) as error:
            raise EnrollError(f"cgroup {cgroup}: can't see what listens: {error}") from error
        return {found.local_port for found in listening if found.inode in inodes}

    def home(self, cgroup: Path, caller: Path | None = None) -> int | None:
        """The network namespace of a cgroup's processes, open; None if there is none."""
        path = netns_of(cgroup) or caller
        try:
            return None if path is None else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # they have just ended
            return None


def depth(cgroup: Path) -> int:
    """How many directories a cgroup is below the root of its file system."""
    point = max(
        (mount.point for mount in mounts.current() if cgroup.is_relative_to(mount.point)),
        key=lambda point: len(point.parts),
    )
    return len(cgroup.relative_to(point).parts)


def processes(cgroup: Path) -> list[int]:
    """The processes in a cgroup and below it."""
    found: list[int] = []
    for procs in (cgroup / "cgroup.procs", *cgroup.glob("**/cgroup.procs")):
        try:
            found += map(int, procs.read_text().split())
        except OSError:  # removed while we looked
            continue
    return sorted(set(found))


def netns_of(cgroup: Path) -> Path | None:
    """The network namespace of a cgroup's processes; None if there is none."""
    for process in processes(cgroup):
        path = Path(f"/proc/{process}/ns/net")
        if path.exists():
            return path
    return None


def socket_inodes(cgroup: Path) -> Iterator[int]:
    """The inode numbers of the sockets that a cgroup's processes have open."""
    for process in processes(cgroup):
        try:
            for entry in Path(f"/proc/{process}/fd").iterdir():
                target = str(entry.readlink())
                if target.startswith("socket:["):
                    yield int(target[len("socket:[") : -1])
        except OSError:  # it ended, or closed one, just now
            continue


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A file or directory, open for the length of a with block."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
