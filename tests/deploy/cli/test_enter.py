"""`tandem exec` into a real network namespace and cgroup."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpf import mounts
from tests.support.fake_mesh import FakeMesh


@pytest.fixture
def cgroup(mesh: FakeMesh) -> Iterator[Path]:
    mount = next(mount for mount in mounts.current() if mount.kind == "cgroup2")
    group = mount.point / f"tandem-{mesh.name}"
    group.mkdir()
    yield group
    group.rmdir()


def execute(
    mesh: FakeMesh, *words: str, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "deploy.cli", "exec", "--name", mesh.name, *words]
    return subprocess.run(
        argv, input=stdin, capture_output=True, text=True, check=False, timeout=30
    )


def test_command_runs_in_the_pods_place(mesh: FakeMesh, netns: Path, cgroup: Path) -> None:
    mesh.pod("bookinfo", "details-v1-x", netns=str(netns), cgroup=str(cgroup))
    script = "readlink /proc/self/ns/net; cat /proc/self/cgroup"
    done = execute(mesh, "-n", "bookinfo", "details", "--", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    inode = netns.stat().st_ino
    assert done.stdout.splitlines()[0] == f"net:[{inode}]"
    assert f"/{cgroup.name}\n" in done.stdout


def test_status_and_standard_streams_are_passed_on(
    mesh: FakeMesh, netns: Path, cgroup: Path
) -> None:
    mesh.pod("bookinfo", "details-v1-x", netns=str(netns), cgroup=str(cgroup))
    done = execute(mesh, "details", "--", "sh", "-c", "cat; exit 7", stdin="through")
    assert (done.returncode, done.stdout) == (7, "through")


def test_command_that_is_not_there(mesh: FakeMesh, netns: Path, cgroup: Path) -> None:
    mesh.pod("bookinfo", "details-v1-x", netns=str(netns), cgroup=str(cgroup))
    done = execute(mesh, "details", "--", "nosuchcommand")
    assert done.returncode == 127
    assert "'nosuchcommand' not found" in done.stderr
