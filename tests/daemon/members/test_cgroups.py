"""Cgroups as members, on the real kernel."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.errors import EnrollError
from daemon.members.cgroups import KernelCgroups, depth, netns_of
from tests.bpf.engine import Engine, cgroup_root, engine, eventually, removed
from tests.support.netns import Netns, netns

LISTEN = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def loaded() -> Iterator[Engine]:
    with engine("members") as made:
        yield made


@pytest.fixture
def cgroup(loaded: Engine) -> Iterator[Path]:
    """A cgroup outside of the engine's."""
    path = loaded.place.cgroup.with_name(loaded.place.cgroup.name + "-member")
    path.mkdir()
    yield path
    eventually(lambda: removed(path))


@pytest.fixture
def home() -> Iterator[Netns]:
    with netns() as made:
        yield made


@pytest.fixture
def cgroups(loaded: Engine) -> KernelCgroups:
    return KernelCgroups(loaded.place.pin_dir, loaded.place.cgroup)


def listener(home: Netns, cgroup: Path) -> subprocess.Popen[str]:
    join = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
    return home.popen(["sh", "-c", join, str(cgroup), sys.executable, "-c", LISTEN])


def test_a_cgroup_has_the_id_and_the_level_of_its_directory(
    cgroups: KernelCgroups, cgroup: Path
) -> None:
    assert cgroups.identify(cgroup) == (cgroup.stat().st_ino, depth(cgroup))
    assert depth(cgroup) == len(cgroup.relative_to(cgroup_root()).parts)
    assert depth(cgroup_root()) == 0


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/nowhere", "no such directory"),
        ("nowhere", "no such directory"),
        ("/tmp", "not in the cgroup v2 file system"),
    ],
)
def test_what_is_no_cgroup_is_refused(cgroups: KernelCgroups, path: str, said: str) -> None:
    with pytest.raises(EnrollError, match=said):
        cgroups.identify(Path(path))


def test_what_is_above_the_nodes_pods_is_refused(cgroups: KernelCgroups) -> None:
    for path in (cgroups.root, cgroup_root()):
        with pytest.raises(EnrollError, match="the node's pods are below it"):
            cgroups.identify(path)


def test_hooks_come_and_go(cgroups: KernelCgroups, cgroup: Path, home: Netns) -> None:
    cgroups.attach(cgroup, Path(home.path))
    cgroups.attach(cgroup, None)  # again: nothing changes
    number = cgroup.stat().st_ino
    assert cgroups.attached() == {number}
    host = cgroups.pin_dir / "links" / "sk_lookup_host"
    assert host.exists()
    cgroups.detach(number)
    assert cgroups.attached() == set()
    cgroups.release()
    assert not host.exists()


def test_below_the_nodes_own_cgroup_the_hooks_are_there_already(
    cgroups: KernelCgroups, home: Netns
) -> None:
    child = cgroups.root / "child"
    child.mkdir()
    try:
        cgroups.attach(child, Path(home.path))
        assert cgroups.attached() == set()
    finally:
        cgroups.release()
        child.rmdir()


def test_what_its_processes_listen_on(
    cgroups: KernelCgroups, cgroup: Path, home: Netns
) -> None:
    assert cgroups.listened(cgroup) == set()
    assert netns_of(cgroup) is None
    with listener(home, cgroup) as ours, home.popen([sys.executable, "-c", LISTEN]) as others:
        assert ours.stdout
        assert others.stdout
        port = int(ours.stdout.readline())
        others.stdout.readline()
        assert cgroups.listened(cgroup) == {port}
        ours.communicate("")
        others.communicate("")
