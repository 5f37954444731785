"""Processes that are in no pod, each in a cgroup of its own outside of the mesh's."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.standalone.runner.cgroups import mounted


@contextmanager
def cgroup(name: str) -> Iterator[Path]:
    """A cgroup of the host's, outside of the mesh's; its processes end with it."""
    path = mounted() / f"tandem-test-unit-{os.getpid()}-{name}"
    path.mkdir()
    try:
        yield path
    finally:
        (path / "cgroup.kill").write_text("1")
        deadline = time.monotonic() + 10
        while "populated 1" in (path / "cgroup.events").read_text():
            assert time.monotonic() < deadline
            os.sched_yield()
        path.rmdir()


def inside(where: Path, *command: str) -> list[str]:
    """Run a command in a cgroup, in the caller's network namespace."""
    return ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(where), *command]
