"""Who may come through a tunnel, before and after a push."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from daemon.tunnel.authorize import Authorizer, Denial
from tests.ztunnel_compat.policies import connection, exact, policy, when
from ztunnel_compat.model import Workload
from ztunnel_compat.policy import Action, Policy, PolicyScope, UnusablePolicy
from ztunnel_compat.policy_state import PolicyState
from ztunnel_compat.rbac import Connection
from ztunnel_compat.runtime.tasks import Tasks
from ztunnel_compat.state import Changes, WorkloadState

POD = Workload(uid="pod", namespace="app")
WEB = "spiffe://cluster.local/ns/app/sa/web"
OTHER = "spiffe://cluster.local/ns/app/sa/other"

#: ztunnel's words (src/proxy.rs), as of connections that the kernel refuses.
NOT_ALLOWED = (
    "connection closed due to policy rejection: allow policies exist, but none allowed"
)
DENIED = "connection closed due to policy rejection: explicitly denied by: app/b"


def only(name: str, identity: str, action: Action = Action.ALLOW, **more: bool) -> Policy:
    principal = identity.removeprefix("spiffe://")
    return policy(name, when(principals=(exact(principal),)), action=action, **more)


@dataclass(eq=False)
class Open:
    connection: Connection = field(default_factory=connection)
    revoked: list[Denial] = field(default_factory=list)

    def revoke(self, denial: Denial) -> None:
        self.revoked.append(denial)


class Rig:
    def __init__(self) -> None:
        self.mesh = WorkloadState()
        self.policies = PolicyState()
        self.synced = asyncio.Event()
        self.authorizer = Authorizer(self.mesh, self.policies, self.synced)

    def push(self, *resources: Workload | Policy | UnusablePolicy, gone: str = "") -> None:
        workloads = [r for r in resources if isinstance(r, Workload)]
        others = [r for r in resources if not isinstance(r, Workload)]
        changes = self.mesh.apply(workloads, ())
        keys, _ = self.policies.apply(others, [gone] if gone else [])
        self.synced.set()
        self.authorizer.on_change(replace(changes, policies=keys))

    def admit(self, identity: str = WEB) -> tuple[Open, Denial | None]:
        one = Open(connection(identity))
        return one, self.authorizer.admit("pod", one)

    def denied(self, identity: str = WEB) -> bool:
        return self.admit(identity)[1] is not None


@asynccontextmanager
async def enforcing(rig: Rig) -> AsyncIterator[None]:
    async with Tasks() as tasks:
        tasks.spawn(rig.authorizer.run(), "enforcement")
        yield


async def turn() -> None:
    """Let the loop do what is due."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_policies_decide_as_they_do_at_the_syn() -> None:
    rig = Rig()
    rig.push(POD)
    assert not rig.denied()
    rig.push(only("a", WEB))
    assert not rig.denied()
    _, denial = rig.admit(OTHER)
    assert denial == Denial(NOT_ALLOWED)
    rig.push(only("b", WEB, Action.DENY))
    assert rig.admit()[1] == Denial(DENIED, "app/b")
    assert rig.authorizer.denied == {"": 1, "app/b": 1}


async def test_dry_run_is_counted_and_has_no_say() -> None:
    rig = Rig()
    rig.push(POD, only("a", WEB, Action.DENY, dry_run=True))
    assert not rig.denied()
    assert rig.authorizer.dry_run == {"app/a": 1}
    assert not rig.authorizer.denied


async def test_nobody_comes_before_all_is_known() -> None:
    rig = Rig()
    assert rig.denied()
    rig.push()
    assert rig.denied()
    rig.push(replace(POD, authorization_policies=("app/named",)))
    assert rig.denied()
    named = replace(only("named", WEB), scope=PolicyScope.WORKLOAD_SELECTOR)
    rig.push(named)
    assert not rig.denied()
    assert rig.denied(OTHER)


async def test_what_is_in_force_stays_while_a_policy_is_on_its_way() -> None:
    rig = Rig()
    rig.push(POD, only("a", WEB))
    assert not rig.denied()
    rig.push(replace(POD, authorization_policies=("app/named",)))
    assert not rig.denied()
    assert rig.denied(OTHER)


async def test_a_workload_that_leaves_the_mesh_keeps_what_is_in_force() -> None:
    rig = Rig()
    rig.push(POD, only("a", WEB))
    assert not rig.denied()
    rig.authorizer.on_change(rig.mesh.apply((), ["pod"]))
    assert not rig.denied()
    assert rig.denied(OTHER)
    rig.authorizer.forget("pod")
    assert rig.denied()


async def test_an_unusable_policy_refuses_and_leaves_what_is_open() -> None:
    rig = Rig()
    async with enforcing(rig):
        rig.push(POD)
        one, _ = rig.admit()
        rig.push(UnusablePolicy("app/bad", PolicyScope.NAMESPACE, "action: 7"))
        await turn()
        assert rig.denied()
        assert not one.revoked
        rig.push(gone="app/bad")
        assert not rig.denied()


async def test_waiting_for_the_control_plane() -> None:
    rig = Rig()
    async with Tasks() as tasks:
        waiting = tasks.spawn(rig.authorizer.settled("pod"), "wait")
        await turn()
        rig.push()
        await turn()
        assert not waiting.done()
        rig.push(POD)
        await turn()
        assert waiting.done()
    await rig.authorizer.settled("nobody", 0.01)


async def test_a_push_ends_what_it_denies_and_nothing_else() -> None:
    rig = Rig()
    async with enforcing(rig):
        rig.push(POD)
        (web, _), (other, _), (left, _) = rig.admit(), rig.admit(OTHER), rig.admit(OTHER)
        rig.authorizer.leave("pod", left)
        rig.push(only("a", WEB))
        await turn()
        assert other.revoked == [Denial(NOT_ALLOWED)]
        assert not web.revoked
        assert not left.revoked
        rig.push(only("b", WEB, Action.DENY))
        await turn()
        assert web.revoked == [Denial(DENIED, "app/b")]
        assert len(other.revoked) == 1
        assert rig.authorizer.denied == {"": 1, "app/b": 1}
        assert not rig.authorizer.admitted


async def test_a_policy_that_a_workload_newly_names_bites() -> None:
    rig = Rig()
    named = replace(only("named", WEB, Action.DENY), scope=PolicyScope.WORKLOAD_SELECTOR)
    async with enforcing(rig):
        rig.push(POD, named)
        one, denial = rig.admit()
        assert denial is None
        rig.push(replace(POD, authorization_policies=("app/named",)))
        await turn()
        assert [found.policy for found in one.revoked] == ["app/named"]


async def test_other_workloads_pushes_cost_nothing() -> None:
    rig = Rig()
    rig.push(POD)
    rig.admit()
    rig.authorizer.on_change(Changes(workloads=frozenset({"another"})))
    rig.push(replace(POD, canonical_name="new"))
    assert not rig.authorizer.to_check


async def test_the_dump() -> None:
    rig = Rig()
    rig.push(POD, only("a", WEB))
    rig.admit()
    assert rig.authorizer.dump() == {
        "pod": {"policies": ["app/a"], "reason": "", "connections": 1}
    }


async def test_what_is_on_its_way_is_an_error_once_somebody_waited_in_vain(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig()
    rig.push(replace(POD, authorization_policies=("app/named",)))
    assert rig.denied()
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]
    await rig.authorizer.settled("pod", 0.01)
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert "not sent yet: policy app/named" in record.message
