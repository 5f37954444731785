"""cgroup v2: where it is, and how to end everything that is inside one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from bpf import mounts
from deploy.standalone.runner.errors import PreflightError, RunnerError

POLL = 0.01
#: A killed process ends as soon as the kernel lets go of it.
KILL_TIMEOUT = 10.0


def mounted() -> Path:
    """Where cgroup v2 is mounted on this machine; raises PreflightError if nowhere."""
    points = [mount.point for mount in mounts.current() if mount.kind == "cgroup2"]
    if not points:
        raise PreflightError(
            "cgroup v2 is not mounted: boot with systemd.unified_cgroup_hierarchy=1, or "
            "mount it: mount -t cgroup2 none /sys/fs/cgroup"
        )
    return points[0]


def populated(cgroup: Path) -> bool:
    """Whether a process is in the cgroup or below it; False if there is no such cgroup."""
    try:
        events = (cgroup / "cgroup.events").read_text()
    except FileNotFoundError:
        return False
    return "populated 1" in events


def processes(cgroup: Path) -> list[int]:
    """The process ids in a cgroup and below it."""
    found: list[int] = []
    for procs in [cgroup / "cgroup.procs", *cgroup.glob("**/cgroup.procs")]:
        try:
            found += [int(pid) for pid in procs.read_text().split()]
        except (FileNotFoundError, OSError):  # removed while we looked
            continue
    return sorted(set(found))


async def kill(cgroup: Path) -> None:
    """Kill everything in the cgroup and below it, and wait until it is gone.

    Raises RunnerError after KILL_TIMEOUT: a process that the kernel can't end.
    """
    try:
        (cgroup / "cgroup.kill").write_text("1")
    except FileNotFoundError:
        return
    loop = asyncio.get_running_loop()
    deadline = loop.time() + KILL_TIMEOUT
    while populated(cgroup):
        if loop.time() > deadline:
            raise RunnerError(f"processes {processes(cgroup)} of {cgroup} don't end")
        await asyncio.sleep(POLL)


def remove(cgroup: Path) -> bool:
    """Remove an empty cgroup and those below it; False when there was none."""
    if not cgroup.is_dir():
        return False
    for folder, _, _ in os.walk(cgroup, topdown=False):
        try:
            Path(folder).rmdir()
        except FileNotFoundError:
            continue
    return True
