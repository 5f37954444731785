"""Members of the mesh without a netns, on maps in memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bpf.knobs import Knobs
from bpf.layout import Listener
from bpf.maps import Maps
from daemon.desired import Desired
from daemon.errors import EnrollError
from daemon.members.homes import Homes
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
        self.empty: set[Path] = set()

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

    def home(self, cgroup: Path, caller: Path | None = None) -> int | None:
        """The test's own namespace, or (a cgroup without processes) the caller's."""
        path = Path("/proc/self/ns/net") if cgroup not in self.empty else caller
        return None if path is None else os.open(path, os.O_RDONLY)

    def listened(self, _cgroup: Path) -> set[int]:
        return {80}


class NotedTunnels:
    """Whom it serves; taken: a program has the ports there."""

    def __init__(self) -> None:
        self.served: list[tuple[int, str]] = []
        self.taken = False
        self.closed = self.told_times = 0

    def open_member(self, cookie: int, _netns_fd: int, uid: str) -> None:
        if self.taken:
            raise EnrollError("port 15008 is taken")
        if (cookie, uid) not in self.served:
            self.served.append((cookie, uid))

    def close_member(self, cookie: int, uid: str) -> None:
        self.served.remove((cookie, uid))
        self.closed += 1

    def told(self) -> None:
        self.told_times += 1


class Node:
    def __init__(self, folder: Path, maps: Maps | None = None) -> None:
        self.maps = maps or Maps.memory(Knobs(members=2, listeners=8))
        self.state = WorkloadState()
        self.state.apply([entry("db"), entry("web")], [])
        self.cgroups = NotedCgroups()
        self.keeper = keeper_of(self.maps, self.state)
        self.record = folder / "members.json"
        self.tunnels = NotedTunnels()
        self.said: list[set[str]] = []
        self.disowned: list[int] = []
        self.members = Members(
            cluster="Kubernetes",
            maps=self.maps,
            desired=Desired(self.state, HERE, {}),
            programmer=Programmer(self.maps, dump(self.maps)),
            keeper=self.keeper,
            homes=Homes(self.cgroups, self.tunnels),
            record=self.record,
            disown=self.disown,
            tell=lambda uids: self.said.append({uid.rpartition("/")[2] for uid in uids}),
        )

    async def disown(self, workload: int) -> None:
        self.disowned.append(workload)

    @property
    def served(self) -> list[str]:
        return [uid.rpartition("/")[2] for _, uid in self.tunnels.served]

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
    assert node.disowned == []
    await node.members.leave(cgroup)
    assert node.disowned == [name("db")]
    assert node.known() == {}
    assert node.maps.member_levels.get(0) == 0
    assert dict(node.maps.listeners.items()) == {}
    assert node.maps.member_guards.get(name("db")) is None
    assert (node.cgroups.hooked, node.cgroups.host) == (set(), False)
    with pytest.raises(EnrollError, match="is not enrolled"):
        await node.members.leave(cgroup)


async def test_its_tunnels_are_served_until_it_leaves(
    node: Node, cgroup: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    await node.members.recall()
    assert (node.said, node.tunnels.told_times) == ([set()], 1)
    await node.members.enroll(cgroup, "shop/db")
    await node.members.enroll(other, "shop/db")
    assert node.served == ["db"]
    assert node.said[-1] == {"db"}
    await node.members.leave(cgroup)
    assert node.served == ["db"]  # another cgroup is the same workload
    await node.members.leave(other)
    assert node.served == []
    assert node.said[-1] == set()


async def test_without_its_ports_it_is_not_taken_in(node: Node, cgroup: Path) -> None:
    node.tunnels.taken = True
    with pytest.raises(EnrollError, match="no tunnels: port 15008 is taken"):
        await node.members.enroll(cgroup, "shop/db", Path("/proc/self/ns/net"))
    assert node.known() == {}
    assert node.cgroups.hooked == set()


async def test_enrolled_again_it_keeps_its_tunnels(node: Node, cgroup: Path) -> None:
    await node.members.enroll(cgroup, "shop/db")
    await node.members.enroll(cgroup, "shop/db")
    assert (node.served, node.tunnels.closed) == (["db"], 0)
    await node.members.leave(cgroup)
    assert node.maps.member_guards.get(name("db")) is None


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
    assert later.said == []
    await later.members.recall()
    assert (later.said, later.served) == ([{"db"}], ["db"])
    assert later.known() == {cgroup.stat().st_ino: name("db")}
    assert later.cgroups.hooked == {cgroup.stat().st_ino}
    assert read_record(later.record) == [{"cgroup": str(cgroup), "workload": "shop/db"}]


async def test_one_that_was_enrolled_before_stays_so_without_its_ports(
    node: Node, cgroup: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else its processes would be nobody's, and what they send leaves in plain text."""
    await node.members.enroll(cgroup, "shop/db")
    later = Node(tmp_path, node.maps)
    later.tunnels.taken = True
    await later.keeper.push(policies=True, workloads=[])
    await later.members.recall()
    assert later.known() == {cgroup.stat().st_ino: name("db")}
    assert (later.said, later.served) == ([set()], [])
    assert "port 15008 is taken; it can't connect to other nodes" in caplog.text
    caplog.clear()
    member = later.members.members[cgroup.stat().st_ino]
    await later.members.homes.look(member)
    assert caplog.text == "", "it was said"
    later.tunnels.taken = False
    async with running(later):
        await until(lambda: later.said[-1] == {"db"})
    assert later.served == ["db"]


async def test_where_an_empty_cgroup_is_shows_with_its_first_process(
    node: Node, cgroup: Path
) -> None:
    node.cgroups.empty = {cgroup}
    await node.members.enroll(cgroup, "shop/db")
    assert node.served == []
    node.cgroups.empty = set()
    async with running(node):
        await until(lambda: node.served == ["db"])


@contextlib.asynccontextmanager
async def running(node: Node) -> AsyncIterator[None]:
    ready = asyncio.Event()
    ready.set()
    task = asyncio.ensure_future(node.members.run(ready))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_cgroup_that_ends_is_let_go(node: Node, cgroup: Path) -> None:
    await node.members.enroll(cgroup, "shop/db")
    cgroup.rmdir()
    async with running(node):
        await until(lambda: not node.known())
    assert node.served == []


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


def test_a_record_that_cannot_be_read_enrols_nobody(tmp_path: Path) -> None:
    record = tmp_path / "members.json"
    assert read_record(record) == []
    record.write_text("{")
    assert read_record(record) == []
