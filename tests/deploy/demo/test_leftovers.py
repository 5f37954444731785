"""What is still there, found by looking."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bpf import mounts
from deploy.demo import leftovers as module
from deploy.demo.leftovers import leftovers
from deploy.standalone.config import MeshConfig

CONFIG = MeshConfig(name="nosuchmesh")


def test_nothing_is_left_of_what_never_was() -> None:
    assert leftovers(CONFIG) == []


def test_netns_of_this_mesh_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nosuchmesh", "nosuchmesh-node1", "nosuchmesh2", "other"):
        (tmp_path / name).touch()
    monkeypatch.setattr(module, "NETNS_DIR", tmp_path)
    assert sorted(leftovers(CONFIG)) == [
        "network namespace nosuchmesh",
        "network namespace nosuchmesh-node1",
    ]


@pytest.mark.parametrize(
    ("argument", "found"),
    [
        ("/run/tandem/nosuchmesh/control", True),
        ("/run/tandem/nosuchmesh", True),
        ("/run/tandem/nosuchmesh2/control", False),
    ],
)
def test_processes_on_the_state_directory(argument: str, *, found: bool) -> None:
    program = "print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program, argument],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seen = leftovers(CONFIG)
        process.communicate(b"\n")
    assert [line.split()[1] for line in seen] == ([str(process.pid)] if found else [])


def test_processes_in_the_cgroup() -> None:
    mount = next(mount for mount in mounts.current() if mount.kind == "cgroup2")
    group = CONFIG.cgroup(mount.point)
    group.mkdir()
    try:
        with subprocess.Popen(["sleep", "60"]) as process:
            (group / "cgroup.procs").write_text(str(process.pid))
            seen = leftovers(CONFIG)
            process.kill()
        assert seen == [f"cgroup {group}", f"process {process.pid} sleep 60 "]
    finally:
        group.rmdir()
