"""cgroups: who is in them, and ending that."""

from __future__ import annotations

import subprocess
from pathlib import Path

from deploy.standalone.runner import cgroups


def join(cgroup: Path) -> str:
    return f"echo $$ > {cgroup}/cgroup.procs; trap '' TERM INT HUP; echo; sleep 60; echo"


async def test_everything_below_is_killed_and_removed(cgroup: Path) -> None:
    inner = cgroup / "a" / "b"
    inner.mkdir(parents=True)
    with (
        subprocess.Popen(["sh", "-c", join(inner)], stdout=subprocess.PIPE) as one,
        subprocess.Popen(["sh", "-c", join(cgroup)], stdout=subprocess.PIPE) as other,
    ):
        for child in (one, other):
            assert child.stdout is not None
            child.stdout.readline()
        assert cgroups.populated(cgroup)
        assert {one.pid, other.pid} <= set(cgroups.processes(cgroup))
        assert other.pid not in cgroups.processes(inner)
        await cgroups.kill(cgroup)
        assert not cgroups.populated(cgroup)
    assert cgroups.remove(cgroup)
    assert not cgroup.exists()


async def test_what_is_not_there_is_fine(tmp_path: Path) -> None:
    missing = tmp_path / "none"
    await cgroups.kill(missing)
    assert not cgroups.remove(missing)
    assert not cgroups.populated(missing)
    assert cgroups.processes(missing) == []
