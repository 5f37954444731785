from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from bpf.knobs import Knobs
from bpf.layout import Flow, FlowKey, Pod, PodFlag
from bpf.maps import Maps
from bpf.netns import netns_cookie
from daemon.departed import Departed
from daemon.desired import Desired
from daemon.enroll import Enroller
from daemon.errors import EnrollError
from daemon.policies.identities import Account
from daemon.program import Programmer, dump
from daemon.scope import TableName
from tests.daemon.meshes import HERE, keeper_of, uid_of
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


class NotedDns:
    """Notes which pods would be served."""

    def __init__(self) -> None:
        self.served: dict[int, tuple[str, str]] = {}

    def open(self, cookie: int, netns_fd: int, uid: str, namespace: str) -> None:
        assert netns_cookie(netns_fd) == cookie
        self.served[cookie] = (uid, namespace)

    def close(self, cookie: int) -> None:
        self.served.pop(cookie, None)


class NotedTunnels:
    """Notes which pods would be served; pods: the kernel's, by cookie."""

    def __init__(self, maps: Maps) -> None:
        self.maps = maps
        self.served: dict[int, tuple[str, Account]] = {}
        self.error = ""
        self.all_told = False

    def open(self, cookie: int, netns_fd: int, uid: str, account: Account) -> None:
        assert netns_cookie(netns_fd) == cookie
        if self.error:
            raise EnrollError(self.error)
        if cookie not in self.served:
            assert self.maps.pods.get(cookie) is None, "redirected before anybody listens"
        self.served[cookie] = (uid, account)

    def close(self, cookie: int) -> None:
        assert self.maps.pods.get(cookie) is None, "redirected to nobody"
        self.served.pop(cookie, None)

    def told(self) -> None:
        self.all_told = True


class Node:
    """An enroller on maps in memory."""

    def __init__(self, maps: Maps, tasks: Tasks) -> None:
        self.maps = maps
        self.netns = NotedNetns()
        programmer = Programmer(maps, dump(maps))
        self.state = WorkloadState()
        adopted: dict[TableName, dict[bytes, bytes]] = {"pods": programmer.programmed.pods}
        self.desired = Desired(self.state, HERE, adopted)
        self.keeper = keeper_of(maps, self.state)
        self.departed = Departed(maps.flows, tasks)
        self.dns = NotedDns()
        self.tunnels = NotedTunnels(maps)
        self.enroller = Enroller(
            "Kubernetes",
            self.desired,
            programmer,
            self.netns,
            self.departed,
            dns=self.dns,
            tunnels=self.tunnels,
            trust_domain="example.org",
            keeper=self.keeper,
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
            made.keeper.close()


def pod(name: str, uid: str | None = None) -> AddWorkload:
    return AddWorkload(uid or f"uid-{name}", name, "app", "default")


def enrolled(name: str) -> Pod:
    """Before anything is known but what ZDS tells: it looks everywhere."""
    identity = name_hash("spiffe://example.org/ns/app/sa/default")
    flags = PodFlag.OWN_ADDRESSES | PodFlag.RANGES
    return Pod(name_hash(uid_of(name)), 0, identity, name_hash("app"), flags)


A, B = enrolled("a"), enrolled("b")


async def test_zds_has_told_of_every_pod_with_its_snapshot() -> None:
    async with node() as n:
        assert not n.enroller.told.is_set()
        await n.enroller.snapshot_sent(frozenset())
        assert n.enroller.told.is_set()


async def test_a_pod_s_tunnels_are_there_before_the_kernel_sends_any() -> None:
    async with node() as n:
        with new_netns() as one:
            assert await n.enroller.add(pod("a"), one.fd) == ""
            assert n.tunnels.served == {one.cookie: (uid_of("a"), Account("app", "default"))}
            await n.enroller.snapshot_sent(frozenset({"uid-a"}))
            assert n.tunnels.all_told
            await n.enroller.remove("uid-a")
            assert n.tunnels.served == {}


async def test_a_pod_whose_tunnels_can_t_be_served_isn_t_enrolled() -> None:
    async with node() as n:
        with new_netns() as one:
            n.tunnels.error = "port 15008 is taken by a program of the pod"
            assert "port 15008 is taken" in await n.enroller.add(pod("a"), one.fd)
            assert not n.enroller.enrolled
            assert not n.pods()
            assert not n.netns.cookies
            assert not n.dns.served
            n.tunnels.error = ""
            assert await n.enroller.add(pod("a"), one.fd) == ""
            # Enrolled again, it stays what it was when that fails.
            n.tunnels.error = "something else"
            assert await n.enroller.add(pod("a"), one.fd) == "something else"
            assert n.pods() == {one.cookie: A}
            assert one.cookie in n.tunnels.served


async def test_enrolled_at_once_and_removed() -> None:
    async with node() as n:
        with new_netns() as netns:
            cookie = netns_cookie(netns.fd)
            assert await n.enroller.add(pod("a"), netns.fd) == ""
            assert n.pods() == {cookie: A}
            assert n.netns.cookies == {cookie}
            assert n.dns.served == {cookie: (uid_of("a"), "app")}
            assert await n.enroller.add(pod("a"), netns.fd) == ""
            assert n.pods() == {cookie: A}
            await n.enroller.remove("uid-a")
            assert n.pods() == {}
            assert n.netns.cookies == set()
            assert n.dns.served == {}
            await n.enroller.remove("uid-a")


async def test_a_pod_whose_netns_changed() -> None:
    async with node() as n:
        with new_netns() as first, new_netns() as second:
            await n.enroller.add(pod("a"), first.fd)
            await n.enroller.add(pod("a"), second.fd)
            assert n.pods() == {netns_cookie(second.fd): A}
            assert n.netns.cookies == {netns_cookie(second.fd)}
            assert set(n.dns.served) == {netns_cookie(second.fd)}


async def test_a_netns_whose_pod_changed() -> None:
    async with node() as n:
        with new_netns() as netns:
            await n.enroller.add(pod("a"), netns.fd)
            await n.enroller.add(pod("b"), netns.fd)
            await n.enroller.remove("uid-a")
            assert n.pods() == {netns_cookie(netns.fd): B}
            assert len(n.netns.cookies) == 1
            assert n.dns.served == {netns_cookie(netns.fd): (uid_of("b"), "app")}


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
            assert set(n.dns.served) == {netns_cookie(first.fd)}
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
    maps.flows.put(key, Flow(7, netns=71))
    maps.flows.put(other, Flow(8, netns=81))
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


class Following:
    """Notes who came and went."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def joined(self, workload: int, cookie: int, netns_fd: int) -> None:
        assert netns_cookie(netns_fd) == cookie
        self.told.append(("joined", workload, cookie))

    async def parted(self, workload: int, cookie: int, *, namesake: bool) -> None:
        self.told.append(("parted", workload, cookie, namesake))


async def test_followers_are_told_who_comes_and_goes() -> None:
    following = Following()
    async with node() as n:
        n.enroller.followers.append(following)
        with new_netns() as old, new_netns() as new:
            was, now = netns_cookie(old.fd), netns_cookie(new.fd)
            await n.enroller.add(pod("a"), old.fd)
            await n.enroller.add(pod("a", "uid-2"), new.fd)
            await n.enroller.remove("uid-a")
            await n.enroller.remove("uid-2")
    a = name_hash(uid_of("a"))
    assert following.told == [
        ("joined", a, was),
        ("joined", a, now),
        ("parted", a, was, True),
        ("parted", a, now, False),
    ]


async def test_followers_hear_of_adopted_pods_that_left() -> None:
    maps = Maps.memory()
    maps.pods.put(71, Pod(7, 0))
    following = Following()
    async with node(maps) as n:
        n.enroller.followers.append(following)
        await n.enroller.snapshot_sent(frozenset())
    assert following.told == [("parted", 7, 71, False)]


async def test_followers_hear_nothing_of_a_pod_that_is_not_enrolled() -> None:
    following = Following()
    async with node() as n:
        n.enroller.followers.append(following)
        n.netns.error = "no room"
        with new_netns() as netns:
            assert await n.enroller.add(pod("a"), netns.fd)
    assert following.told == []
