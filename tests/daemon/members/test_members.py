"""Members of the mesh without a netns, on maps in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from bpf.knobs import Knobs
from bpf.layout import Listener
from bpf.maps import Maps
from daemon.desired import Desired
from daemon.errors import EnrollError
from daemon.members.members import Members, read_record
from daemon.program import Programmer, dump
from tests.daemon.meshes import HERE, keeper_of
from ztunnel_compat.model import Workload
from ztunnel_compat.names import name_hash, workload_entry_uid
from ztunnel_compat.state import WorkloadState


def entry(name: str) -> Workload:
    uid = workload_entry_uid("Kubernetes", "shop", name)
    return Workload(uid, name=name, namespace="shop", addresses=(b"\x0a\0\0\x01",))


class NotedCgroups:
    """Notes what is attached to; listens on 80 everywhere."""

    def __init__(self) -> None:
        self.hooked: set[int] = set()
        self.host = False
        self.fails = False

    def identify(self, cgroup: Path) -> tuple[int, int]:
        if not cgroup.is_dir():
            raise EnrollError(f"cgroup {cgroup}: there is no such directory")
        return cgroup.stat().st_ino, 2

    def attach(self, cgroup: Path, _caller: Path | None) -> None:
        if self.fails:
            raise EnrollError("no")
        self.hooked.add(cgroup.stat().st_ino)
        self.host = True

    def detach(self, number: int) -> None:
        self.hooked.discard(number)

    def release(self) -> None:
        self.host = False

    def attached(self) -> set[int]:
        return set(self.hooked)

    def home(self, _cgroup: Path) -> int | None:
        return None

    def listened(self, _cgroup: Path) -> set[int]:
        return {80}


class Node:
    def __init__(self, folder: Path, maps: Maps | None = None) -> None:
        self.maps = maps or Maps.memory(Knobs(members=2, listeners=8))
        self.state = WorkloadState()
        self.state.apply([entry("db"), entry("web")], [])
        self.cgroups = NotedCgroups()
        self.keeper = keeper_of(self.maps, self.state)
        self.record = folder / "members.json"
        self.members = Members(
            cluster="Kubernetes",
            maps=self.maps,
            desired=Desired(self.state, HERE, {}),
            programmer=Programmer(self.maps, dump(self.maps)),
            keeper=self.keeper,
            cgroups=self.cgroups,
            record=self.record,
        )

    def known(self) -> dict[int, int]:
        return {number: pod.workload for number, pod in self.maps.members.items()}


def name(workload: str) -> int:
    return name_hash(entry(workload).uid)


@pytest.fixture
async def node(tmp_path: Path) -> Node:
    made = Node(tmp_path)
    await made.keeper.push(policies=True, workloads=[])
    return made


@pytest.fixture
def cgroup(tmp_path: Path) -> Path:
    path = tmp_path / "cgroup"
    path.mkdir()
    return path


async def test_a_member_is_in_the_maps_and_leaves_them(node: Node, cgroup: Path) -> None:
    member = await node.members.enroll(cgroup, "shop/db")
    assert node.known() == {member.number: name("db")}
    assert node.maps.member_levels.get(0) == 1 << 2
    assert dict(node.maps.listeners.items()) == {Listener(80): name("db")}
    assert node.maps.member_guards.get(name("db")) is not None
    assert list(node.maps.guards.items()) == []  # its address is the node's
    assert node.cgroups.hooked == {member.number}
    await node.members.leave(cgroup)
    assert node.known() == {}
    assert node.maps.member_levels.get(0) == 0
    assert dict(node.maps.listeners.items()) == {}
    assert node.maps.member_guards.get(name("db")) is None
    assert (node.cgroups.hooked, node.cgroups.host) == (set(), False)
    with pytest.raises(EnrollError, match="is not enrolled"):
        await node.members.leave(cgroup)


async def test_a_cgroup_may_become_another_workloads(node: Node, cgroup: Path) -> None:
    await node.members.enroll(cgroup, "shop/db")
    member = await node.members.enroll(cgroup, "shop/web")
    assert node.known() == {member.number: name("web")}
    assert dict(node.maps.listeners.items()) == {Listener(80): name("web")}


async def test_what_is_not_to_be_is_refused(node: Node, cgroup: Path) -> None:
    with pytest.raises(EnrollError, match="knows no WorkloadEntry or pod"):
        await node.members.enroll(cgroup, "shop/nobody")
    with pytest.raises(EnrollError, match="no such directory"):
        await node.members.enroll(cgroup / "x", "shop/db")
    await node.members.enroll(cgroup, "shop/db")
    child = cgroup / "child"
    child.mkdir()
    with pytest.raises(EnrollError, match="one is in the other"):
        await node.members.enroll(child, "shop/web")


async def test_a_member_that_fails_half_way_is_none(node: Node, cgroup: Path) -> None:
    node.cgroups.fails = True
    with pytest.raises(EnrollError, match="no"):
        await node.members.enroll(cgroup, "shop/db")
    assert (node.known(), read_record(node.record)) == ({}, [])
    assert node.maps.member_guards.get(name("db")) is None


async def test_members_are_members_again_after_a_restart(
    node: Node, cgroup: Path, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    await node.members.enroll(cgroup, "shop/db")
    await node.members.enroll(gone, "shop/web")
    number = gone.stat().st_ino
    gone.rmdir()
    later = Node(tmp_path, node.maps)
    later.cgroups.hooked = {number}
    await later.keeper.push(policies=True, workloads=[])
    await later.members.recall()
    assert later.known() == {cgroup.stat().st_ino: name("db")}
    assert later.cgroups.hooked == {cgroup.stat().st_ino}
    assert read_record(later.record) == [{"cgroup": str(cgroup), "workload": "shop/db"}]


async def test_a_cgroup_that_ends_is_let_go(node: Node, cgroup: Path) -> None:
    await node.members.enroll(cgroup, "shop/db")
    cgroup.rmdir()
    ready = asyncio.Event()
    ready.set()
    running = asyncio.ensure_future(node.members.run(ready))
    await until(lambda: not node.known())
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


def test_a_record_that_cannot_be_read_enrols_nobody(tmp_path: Path) -> None:
    record = tmp_path / "members.json"
    assert read_record(record) == []
    record.write_text("{")
    assert read_record(record) == []
