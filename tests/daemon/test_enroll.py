from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from bpf.knobs import Knobs
from bpf.layout import Flow, FlowKey, Pod
from bpf.maps import Maps
from bpf.netns import netns_cookie
from daemon.departed import Departed
from daemon.desired import Desired
from daemon.enroll import Enroller
from daemon.errors import EnrollError
from daemon.program import Programmer, dump
from tests.daemon.meshes import uid_of
from tests.support.netns import netns as new_netns
from ztunnel_compat.names import name_hash
from ztunnel_compat.runtime.tasks import Tasks
from ztunnel_compat.state import WorkloadState
from ztunnel_compat.zds import AddWorkload


class NotedNetns:
    """Notes what would be attached."""

    def __init__(self) -> None:
        self.cookies: set[int] = set()
        self.error = ""

    def prepare(self, netns_fd: int) -> int:
        if self.error:
            raise EnrollError(self.error)
        cookie = netns_cookie(netns_fd)
        self.cookies.add(cookie)
        return cookie

    def release(self, cookie: int) -> None:
        self.cookies.discard(cookie)

    def attached(self) -> set[int]:
        return set(self.cookies)


class Node:
    """An enroller on maps in memory."""

    def __init__(self, maps: Maps, tasks: Tasks) -> None:
        self.maps = maps
        self.netns = NotedNetns()
        programmer = Programmer(maps, dump(maps))
        self.desired = Desired(WorkloadState(), "", programmer.programmed.pods)
        self.departed = Departed(maps.flows, tasks)
        self.enroller = Enroller(
            "Kubernetes", self.desired, programmer, self.netns, self.departed
        )

    def pods(self) -> dict[int, Pod]:
        return dict(self.maps.pods.items())


@contextlib.asynccontextmanager
async def node(maps: Maps | None = None) -> AsyncIterator[Node]:
    async with Tasks() as tasks:
        made = Node(maps or Maps.memory(), tasks)
        try:
            yield made
        finally:
            made.departed.close()


def pod(name: str, uid: str | None = None) -> AddWorkload:
    return AddWorkload(uid or f"uid-{name}", name, "app", "default")


A = Pod(name_hash(uid_of("a")), 0)
B = Pod(name_hash(uid_of("b")), 0)


async def test_enrolled_at_once_and_removed() -> None:
    async with node() as n:
        with new_netns() as netns:
            cookie = netns_cookie(netns.fd)
            assert await n.enroller.add(pod("a"), netns.fd) == ""
            assert n.pods() == {cookie: A}
            assert n.netns.cookies == {cookie}
            assert await n.enroller.add(pod("a"), netns.fd) == ""
            assert n.pods() == {cookie: A}
            await n.enroller.remove("uid-a")
            assert n.pods() == {}
            assert n.netns.cookies == set()
            await n.enroller.remove("uid-a")


async def test_a_pod_whose_netns_changed() -> None:
    async with node() as n:
        with new_netns() as first, new_netns() as second:
            await n.enroller.add(pod("a"), first.fd)
            await n.enroller.add(pod("a"), second.fd)
            assert n.pods() == {netns_cookie(second.fd): A}
            assert n.netns.cookies == {netns_cookie(second.fd)}


async def test_a_netns_whose_pod_changed() -> None:
    async with node() as n:
        with new_netns() as netns:
            await n.enroller.add(pod("a"), netns.fd)
            await n.enroller.add(pod("b"), netns.fd)
            await n.enroller.remove("uid-a")
            assert n.pods() == {netns_cookie(netns.fd): B}
            assert len(n.netns.cookies) == 1


async def test_what_cannot_be_prepared_is_told_and_leaves_nothing() -> None:
    async with node() as n:
        n.netns.error = "no sk_lookup here"
        with new_netns() as netns:
            assert await n.enroller.add(pod("a"), netns.fd) == "no sk_lookup here"
        assert n.pods() == {}
        assert n.enroller.enrolled == {}


async def test_a_full_map_is_told_and_leaves_nothing() -> None:
    async with node(Maps.memory(Knobs(pods=1))) as n:
        with new_netns() as first, new_netns() as second:
            assert await n.enroller.add(pod("a"), first.fd) == ""
            assert "map pods is full at 1 entries" in await n.enroller.add(pod("b"), second.fd)
            assert n.pods() == {netns_cookie(first.fd): A}
            assert n.netns.cookies == {netns_cookie(first.fd)}
            await n.enroller.remove("uid-a")
            assert await n.enroller.add(pod("b"), second.fd) == ""


async def test_a_snapshot_drops_what_it_does_not_list() -> None:
    async with node() as n:
        with new_netns() as first, new_netns() as second:
            await n.enroller.add(pod("a"), first.fd)
            await n.enroller.add(pod("b"), second.fd)
            await n.enroller.snapshot_sent(frozenset({"uid-b"}))
            assert n.pods() == {netns_cookie(second.fd): B}


async def test_a_snapshot_drops_adopted_pods_that_left_meanwhile() -> None:
    """And the flows of one whose netns is gone, which nobody else will delete."""
    maps = Maps.memory()
    key = FlowKey(bytes(16), bytes(16), 1, 80, 0)
    other = FlowKey(bytes(16), bytes(16), 2, 80, 0)
    maps.pods.put(71, Pod(7, 0))
    maps.pods.put(81, Pod(8, 0))
    maps.flows.put(key, Flow(7, 5, bytes(16), 80, 0))
    maps.flows.put(other, Flow(8, 5, bytes(16), 80, 0))
    async with node(maps) as n:
        n.netns.cookies.add(81)
        with new_netns() as netns:
            await n.enroller.add(pod("a"), netns.fd)
            assert set(n.pods()) == {71, 81, netns_cookie(netns.fd)}
            await n.enroller.snapshot_sent(frozenset({"uid-a"}))
            assert n.pods() == {netns_cookie(netns.fd): A}
            assert n.netns.cookies == {netns_cookie(netns.fd)}
            assert [k.source_port for k, _ in maps.flows.items()] == [2]


async def test_pods_kept_without_their_netns_keep_what_is_adopted() -> None:
    maps = Maps.memory()
    maps.pods.put(71, Pod(7, 0))
    async with node(maps) as n:
        await n.enroller.snapshot_sent(frozenset({"uid-kept"}))
        assert set(n.pods()) == {71}
