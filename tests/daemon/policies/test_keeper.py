"""What guards say, on maps in memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from typing import Any

import pytest

from bpf.addresses import mapped
from bpf.knobs import Knobs
from bpf.layout import Guard, GuardFlag, Hit, IdentityRulesKey, LocalAddress, Pod, Verdict
from bpf.maps import Maps
from daemon.policies import sets
from daemon.policies.identities import Account, identity_hash
from daemon.policies.keeper import Keeper
from daemon.policies.totals import PolicyTotal
from tests.daemon.meshes import ip, keeper_of, uid_of, workload
from tests.ztunnel_compat.policies import exact, policy, when
from ztunnel_compat.identity import Identity
from ztunnel_compat.model import Workload
from ztunnel_compat.names import name_hash
from ztunnel_compat.policy import Action, Policy, PolicyScope, UnusablePolicy
from ztunnel_compat.policy_state import PolicyState
from ztunnel_compat.state import WorkloadState

ALLOW = policy("allow", when(namespaces=(exact("app"),)))
DENY = policy("deny", when(destination_ports=(80,)), action=Action.DENY)
ACCOUNT = Account("app", "default")
REFUSED = 0, GuardFlag.REFUSE
PARTED = GuardFlag.PARTED


class Node:
    """A keeper and the control plane's two states."""

    def __init__(self, maps: Maps | None = None) -> None:
        self.maps = maps or Maps.memory()
        self.mesh = WorkloadState()
        self.policies = PolicyState()
        self.keeper = keeper_of(self.maps, self.mesh, self.policies)
        self.netns = os.open("/proc/self/ns/net", os.O_RDONLY)

    def close(self) -> None:
        self.keeper.close()
        os.close(self.netns)

    async def enroll(self, name: str, account: Account = ACCOUNT) -> None:
        await self.keeper.enroll(f"key-{name}", uid_of(name), account, self.netns)

    async def push(self, *resources: Any, removed: tuple[str, ...] = ()) -> None:
        workloads = [r for r in resources if isinstance(r, Workload)]
        changes = self.mesh.apply(workloads, ())
        changed, _ = self.policies.apply(
            [r for r in resources if isinstance(r, Policy | UnusablePolicy)], removed
        )
        await self.keeper.push(policies=bool(changed), workloads=changes.workloads)

    async def remove(self, name: str) -> None:
        changes = self.mesh.apply((), (uid_of(name),))
        await self.keeper.push(policies=False, workloads=changes.workloads)

    def guard(self, address: str) -> tuple[int, int] | None:
        found = self.maps.guards.get(LocalAddress(mapped(ip(address))))
        return None if found is None else (found.policy, found.flags)

    def chunks(self) -> list[int]:
        return sorted(number for number, _ in self.maps.chunks.items())

    @contextlib.asynccontextmanager
    async def running(self):
        task = asyncio.ensure_future(self.keeper.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def until_chunks_are(self, *numbers: int) -> None:
        async with asyncio.timeout(5), self.running():
            while self.chunks() != list(numbers):
                await asyncio.sleep(0.005)


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node()
    yield made
    made.close()


def named(name: str, address: str, *policies: str) -> Workload:
    base = workload(name, address)
    return Workload(
        uid=base.uid,
        namespace="app",
        addresses=base.addresses,
        authorization_policies=policies,
    )


async def test_guards_follow_what_the_control_plane_says(node: Node):
    await node.enroll("a")
    assert node.guard("10.0.0.1") is None
    await node.push(
        workload("a", "10.0.0.1", "fd00::1", tunnel=15088), workload("b", "10.0.0.2")
    )
    assert node.maps.guards.get(LocalAddress(mapped(ip("fd00::1")))) == Guard(
        name_hash(uid_of("a")), 0, 15088, 0
    )
    assert node.guard("10.0.0.1") == (0, 0)
    assert node.guard("10.0.0.2") is None
    await node.push(workload("a", "10.0.0.3"))
    assert (node.guard("10.0.0.1"), node.guard("10.0.0.3")) == (None, (0, 0))
    await node.enroll("b")
    assert node.guard("10.0.0.2") == (0, 0)
    await node.keeper.dismiss("key-a")
    await node.keeper.dismiss("key-a")
    assert (node.guard("10.0.0.3"), node.guard("10.0.0.2")) == ((0, PARTED), (0, 0))


async def test_a_pod_that_left_can_come_back_before_the_first_push(node: Node):
    await node.enroll("a")
    await node.push(workload("a", "10.0.0.1"), ALLOW)
    await node.keeper.dismiss("key-a")
    assert node.guard("10.0.0.1") == (1, PARTED)
    await node.push(DENY)
    assert node.guard("10.0.0.1") == (2, PARTED), "what holds for it is kept up to date"
    assert node.keeper.dump() == {}

    again = Node(node.maps)
    await again.enroll("a")
    assert again.guard("10.0.0.1") == (2, 0)
    await again.keeper.dismiss("key-a")
    assert again.guard("10.0.0.1") == (2, PARTED), "whether it exists isn't known yet"
    await again.push(workload("a", "10.0.0.1"), ALLOW, DENY)
    assert again.guard("10.0.0.1") == (3, PARTED)
    await again.enroll("a")
    assert again.guard("10.0.0.1") == (3, 0)
    await again.keeper.dismiss("key-a")
    await again.remove("a")
    assert again.guard("10.0.0.1") is None
    await again.until_chunks_are()
    again.close()


async def test_a_pod_that_left_and_ended_while_nobody_listened_is_forgotten(node: Node):
    await node.enroll("a")
    await node.push(workload("a", "10.0.0.1"))
    await node.keeper.dismiss("key-a")
    again = Node(node.maps)
    await again.push(workload("b", "10.0.0.1"))
    assert again.guard("10.0.0.1") is None
    again.close()


async def test_equal_sets_are_shared_and_old_ones_go(node: Node):
    await node.enroll("a")
    await node.enroll("b")
    await node.push(workload("a", "10.0.0.1"), workload("b", "10.0.0.2"), ALLOW)
    assert node.guard("10.0.0.1") == node.guard("10.0.0.2") == (1, 0)
    await node.push(DENY)
    assert node.guard("10.0.0.1") == node.guard("10.0.0.2") == (2, 0)
    assert node.chunks() == [1, 2]
    await node.until_chunks_are(2)
    await node.push(removed=("app/allow", "app/deny"))
    assert node.guard("10.0.0.1") == (0, 0)
    await node.until_chunks_are()


async def test_a_push_that_changes_nothing_writes_nothing(node: Node):
    await node.enroll("a")
    await node.push(workload("a", "10.0.0.1"), ALLOW)
    await node.push(policy("elsewhere", namespace="other"))
    assert node.guard("10.0.0.1") == (1, 0)
    assert node.chunks() == [1]


async def test_until_a_named_policy_arrives_the_previous_set_stays(node: Node):
    late = policy("late", scope=PolicyScope.WORKLOAD_SELECTOR)
    await node.enroll("a")
    await node.enroll("b")
    await node.push(workload("a", "10.0.0.1"), named("b", "10.0.0.2", "app/late"), ALLOW)
    assert node.guard("10.0.0.1") == (1, 0)
    assert node.guard("10.0.0.2") == REFUSED
    assert node.keeper.dump()[uid_of("b")]["reason"] == (
        "not sent yet: policy app/late; all connections are refused"
    )
    await node.push(named("a", "10.0.0.1", "app/late"), DENY)
    assert node.guard("10.0.0.1") == (1, 0)
    assert node.keeper.dump()[uid_of("a")] == {
        "policies": ["app/allow"],
        "chunk": 1,
        "refuses": False,
        "reason": "not sent yet: policy app/late; what was in force stays",
    }
    await node.push(late)
    assert node.guard("10.0.0.1") == node.guard("10.0.0.2") == (2, 0)
    assert node.keeper.dump()[uid_of("a")]["policies"] == ["app/allow", "app/deny", "app/late"]


async def test_an_unusable_policy_fails_closed_and_is_named(node: Node, caplog):
    await node.enroll("a")
    await node.push(workload("a", "10.0.0.1"), ALLOW)
    await node.push(UnusablePolicy("app/bad", PolicyScope.NAMESPACE, "action: 7"))
    assert node.guard("10.0.0.1") == REFUSED
    told = "policy app/bad can't be used: action: 7; all connections are refused"
    assert f"{uid_of('a')}: {told}" in caplog.text
    await node.push(UnusablePolicy("app/allow", PolicyScope.NAMESPACE, "action: 8"))
    await node.push(removed=("app/bad",))
    assert node.keeper.dump()[uid_of("a")]["policies"] == ["app/allow"]


async def test_a_set_that_is_too_large_fails_closed(node: Node):
    await node.enroll("a")
    await node.push(
        workload("a", "10.0.0.1"),
        policy("huge", *[when(destination_ports=(1,))] * 4097, action=Action.DENY),
    )
    assert node.guard("10.0.0.1") == REFUSED
    assert "4097 rules, more than the 4096" in node.keeper.dump()[uid_of("a")]["reason"]


async def test_identities_are_known_before_their_pods_connect(node: Node):
    await node.enroll("a", Account("app", "one"))
    await node.push(workload("a", "10.0.0.1"), ALLOW)

    def knows(account: str) -> bool:
        number = identity_hash(Identity("cluster.local", "app", account))
        return node.maps.chunk_identities.get(IdentityRulesKey(1, number)) is not None

    assert (knows("one"), knows("two")) == (True, False)
    await node.enroll("b", Account("app", "two"))
    assert knows("two")


async def test_a_full_map_leaves_the_previous_set_or_refuses(caplog):
    node = Node(Maps.memory(Knobs(chunk_ports=1)))
    await node.enroll("a")
    await node.push(workload("a", "10.0.0.1"), ALLOW)
    both = policy("both", when(destination_ports=(80, 81)))
    await node.push(both)
    assert node.guard("10.0.0.1") == (1, 0)
    await node.enroll("b")
    await node.push(workload("b", "10.0.0.2"))
    assert node.guard("10.0.0.2") == REFUSED
    assert node.keeper.full["chunk_ports"] >= 2
    assert "map chunk_ports is full at 1 entries" in caplog.text
    await node.push(removed=("app/both",))
    assert node.guard("10.0.0.1") == node.guard("10.0.0.2") == (1, 0)
    node.close()


async def test_no_room_for_a_guard_is_retried(caplog):
    node = Node(Maps.memory(Knobs(guards=1)))
    await node.enroll("a")
    await node.enroll("b")
    await node.push(workload("a", "10.0.0.1"), workload("b", "10.0.0.2"))
    assert (node.guard("10.0.0.1"), node.guard("10.0.0.2")) == ((0, 0), None)
    await node.keeper.dismiss("key-a")
    await node.keeper.push(policies=False, workloads=())
    assert node.guard("10.0.0.2") == (0, 0)
    assert node.keeper.full == {"guards": 1}
    node.close()


async def test_totals_and_names_outlive_their_set(node: Node):
    await node.enroll("a")
    await node.push(workload("a", "10.0.0.1"), DENY)
    node.maps.hits.put(Hit(1, 0, Verdict.DENIED), 3)  # type: ignore[attr-defined]
    await node.push(removed=("app/deny",))
    await node.until_chunks_are()
    assert list(node.maps.hits.items()) == []
    assert node.keeper.sets.totals.rows() == [PolicyTotal("app/deny", Verdict.DENIED, 3)]
    assert node.keeper.sets.policy_of(1, 0) == "app/deny"
    assert node.keeper.sets.policy_of(2, 0) == ""


async def test_names_are_remembered_of_so_many_sets(node: Node, monkeypatch):
    monkeypatch.setattr(sets, "REMEMBERED", 1)
    await node.enroll("a")
    for number in range(3):
        await node.push(
            workload("a", "10.0.0.1"),
            policy("deny", when(destination_ports=(number,)), action=Action.DENY),
        )
        await node.until_chunks_are(number + 1)
    assert [node.keeper.sets.policy_of(n, 0) for n in (1, 2, 3)] == ["", "app/deny", "app/deny"]


async def test_a_restart_keeps_what_is_in_force_until_the_first_push(node: Node):
    await node.enroll("a")
    await node.enroll("b")
    await node.push(workload("a", "10.0.0.1"), workload("b", "10.0.0.2"), ALLOW)
    for cookie, name in ((7, "a"), (8, "b")):
        node.maps.pods.put(cookie, Pod(name_hash(uid_of(name))))

    again = Node(node.maps)
    await again.enroll("a")
    assert again.guard("10.0.0.1") == (1, 0)
    await again.push(named("a", "10.0.0.1", "app/late"), workload("b", "10.0.0.2"), ALLOW)
    assert again.guard("10.0.0.1") == (1, 0), "a policy is missing: what was there stays"
    assert again.guard("10.0.0.2") == (2, 0), "nobody enrolled it again, but it is there"
    node.maps.pods.delete(8)
    await again.keeper.sweep()
    assert again.guard("10.0.0.2") == (2, PARTED)
    late = policy("late", scope=PolicyScope.WORKLOAD_SELECTOR)
    await again.push(late)
    assert again.guard("10.0.0.1") == (3, 0)
    await again.keeper.sweep()
    await again.until_chunks_are(2, 3)
    again.close()


async def test_a_restart_keeps_what_an_unusable_policy_would_replace(node: Node):
    bad = UnusablePolicy("app/allow", PolicyScope.NAMESPACE, "action: 7")
    await node.enroll("a")
    await node.push(workload("a", "10.0.0.1"), ALLOW)
    again = Node(node.maps)
    await again.enroll("a")
    await again.push(workload("a", "10.0.0.1"), bad)
    assert again.guard("10.0.0.1") == (1, 0)
    await again.enroll("b")
    await again.push(workload("b", "10.0.0.2"))
    assert again.guard("10.0.0.2") == REFUSED
    again.close()


async def test_leftovers_of_a_killed_process_go(node: Node):
    node.maps.guards.put(LocalAddress(mapped(ip("10.0.0.9"))), Guard(99, 5))
    await node.push(workload("a", "10.0.0.1"))
    again = Node(node.maps)
    await again.push()
    assert again.guard("10.0.0.9") is None
    again.close()


async def test_descriptors_are_let_go(node: Node):
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    await node.enroll("a")
    await node.enroll("a")
    assert len(os.listdir("/proc/self/fd")) == before + 1  # noqa: PTH208
    await node.keeper.dismiss("key-a")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_keeper_is_made_of_what_the_maps_hold():
    maps = Maps.memory()
    maps.guards.put(LocalAddress(mapped(ip("10.0.0.1"))), Guard(7, 4, 0, GuardFlag.REFUSE))
    keeper: Keeper = keeper_of(maps, WorkloadState())
    assert keeper.standings[7].policy == 4
    assert keeper.standings[7].adopted
