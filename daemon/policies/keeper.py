"""Keeps each enrolled workload's guards and policy set as the control plane wants.

A set is written under numbers of its own, then the guards turn to it, then, after a
grace period, the old one goes: a program that read the old number is done by then.
Nothing is written before the first complete push: until then the kernel has what
an earlier process left, or no guard, which refuses.

A pod that leaves the mesh and goes on keeps its guards and set, marked as parted, while
the control plane knows it: a node agent that is started in between, and hears nothing,
can take it in again without refusing everybody.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final

from bpf.errors import BpfError, MapFullError
from bpf.layout import GuardFlag, Pod
from bpf.maps import Maps
from daemon.policies.choice import Apply, Keep, choose
from daemon.policies.compile import TooLargeError
from daemon.policies.enforce import Rules, close_denied
from daemon.policies.enrolled import Enrolled, EnrolledPod
from daemon.policies.guards import Guards
from daemon.policies.identities import Account
from daemon.policies.sets import Sets
from daemon.policies.standing import REFUSING, Standing, kept, refused
from ztunnel_compat.identity import Identity
from ztunnel_compat.model import Workload
from ztunnel_compat.names import name_hash
from ztunnel_compat.policy_state import PolicyState
from ztunnel_compat.state import WorkloadState

logger = logging.getLogger(__name__)

#: Seconds for which a set stays that no guard names: a program runs for microseconds.
GRACE: Final = 0.1


class Keeper:
    """Guards and policy sets; one push, enrolment or dismissal at a time.

    live: the pods in the kernel's map, also those that an earlier process enrolled
    and nobody has named to this one yet.
    """

    def __init__(
        self,
        maps: Maps,
        *,
        mesh: WorkloadState,
        policies: PolicyState,
        network: str,
        set_chunks: int,
        live: Callable[[], Iterable[Pod]],
    ) -> None:
        self.maps = maps
        self.mesh = mesh
        self.policies = policies
        self.live = live
        self.sets = Sets(maps, set_chunks)
        self.guards = Guards(maps, network, self.forget_parted)
        self.standings = self.guards.standings()
        self.adopted = {pod.workload for pod in live()}
        self.enrolled = Enrolled()
        #: The network namespaces of a member's processes, as files that we close; blocks.
        self.members_netns: Callable[[str], list[int]] = lambda _uid: []
        self.to_check: set[str] = set()
        self.unsettled: set[str] = set()
        self.work = asyncio.Event()
        self.lock = asyncio.Lock()
        self.complete = False
        self.full: Counter[str] = Counter()

    def close(self) -> None:
        """Let go of the pods' network namespaces; the kernel keeps what it has."""
        self.enrolled.close()

    async def enroll(self, key: str, uid: str, account: Account, netns_fd: int) -> None:
        """Guard a pod, before anything is attached to it; key: enrolment's own."""
        async with self.lock:
            self.enrolled.add(key, EnrolledPod(uid, account, netns_fd))
            self.learn(account.identity(self.mesh.workload(uid)))
            self.guards.mark(name_hash(uid), parted=False)
            if self.complete:
                await self.settle({uid})

    async def dismiss(self, key: str) -> None:
        """A pod is guarded no longer; nothing must be attached to it any more."""
        async with self.lock:
            pod = self.enrolled.remove(key)
            if pod is not None and pod.uid not in self.enrolled.workloads:
                self.part(name_hash(pod.uid))

    async def enroll_member(self, uid: str) -> None:
        """Guard a workload whose processes share the node's addresses."""
        async with self.lock:
            self.enrolled.add_member(uid)
            self.learn_all({uid})
            workload = self.mesh.workload(uid)
            if workload is not None:
                self.learn(workload.identity)
            if self.complete:
                await self.settle({uid})

    async def dismiss_member(self, uid: str) -> None:
        """One cgroup of a workload is no member any more."""
        async with self.lock:
            self.enrolled.remove_member(uid)
            if uid not in self.enrolled.members:
                self.guards.leave_member(name_hash(uid))
            if uid not in self.enrolled.workloads:
                self.leave(name_hash(uid))

    async def push(self, *, policies: bool, workloads: Iterable[str]) -> None:
        """Take in what changed: any policy, or these workloads. The first one: all."""
        async with self.lock:
            first = not self.complete
            self.complete = True
            gone = {uid for uid in workloads if self.mesh.workload(uid) is None}
            for uid in gone:
                if not self.local(uid):
                    self.leave(name_hash(uid))
            changed = self.unsettled | set(
                self.all_guarded() if policies or first else workloads
            )
            changed = {
                uid for uid in changed if self.local(uid) or name_hash(uid) in self.standings
            }
            self.unsettled = set()
            self.learn_all(changed)
            await self.settle(changed)
        if first:
            await self.sweep()

    async def sweep(self) -> None:
        """Delete what earlier processes left and nothing uses: guards, sets."""
        async with self.lock:
            if not self.complete:
                return
            self.adopted = {pod.workload for pod in self.live()}
            known = self.adopted | {name_hash(uid) for uid in self.enrolled.workloads}
            for workload in self.standings.keys() - known:
                self.part(workload)
            gone = await self.sets.sweep(self.guards.named())
            if gone:
                logger.info("deleted %d chunks of policies that nothing uses", gone)

    async def run(self) -> None:
        """Close what is denied now and delete old sets, for ever."""
        while True:
            await self.work.wait()
            self.work.clear()
            retired = list(self.sets.retired)
            to_check, self.to_check = self.to_check, set()
            for uid in sorted(to_check):
                await self.enforce(uid)
            await asyncio.sleep(GRACE)
            async with self.lock:
                self.sets.delete(retired)

    def local(self, uid: str) -> bool:
        """Whether a workload has an enrolled pod here."""
        return uid in self.enrolled.workloads or name_hash(uid) in self.adopted

    def all_guarded(self) -> set[str]:
        """All workloads with a pod here, enrolled or parted, as far as they are known."""
        kept = map(self.mesh.workload_by_hash, self.adopted | self.standings.keys())
        return set(self.enrolled.workloads) | {workload.uid for workload in kept if workload}

    def learn_all(self, uids: set[str]) -> None:
        """Learn the identities of pods: by enrolment, else by the control plane."""
        for uid, account in self.enrolled.accounts(uids):
            self.learn(account.identity(self.mesh.workload(uid)))
        for uid in uids - self.enrolled.workloads.keys():
            workload = self.mesh.workload(uid)
            if workload is not None:
                self.learn(workload.identity)

    def learn(self, identity: Identity) -> None:
        """Let every set know an identity, before anybody can connect with it."""
        try:
            self.sets.learn(identity)
        except MapFullError as error:
            self.report(error, f"{identity} is refused where policies look at identities")

    async def settle(self, uids: set[str]) -> None:
        """Give workloads the sets and guards that they should have."""
        for uid in sorted(uids):
            workload = self.mesh.workload(uid)
            if workload is None:
                continue  # what is in force stays until enrolment ends
            name = name_hash(uid)
            before = self.standings.get(name)
            standing = await self.stand(workload, before)
            self.standings[name] = standing
            local = self.local(uid)
            member = uid in self.enrolled.members
            for error in self.guards.write(workload, standing, member=member, parted=not local):
                self.unsettled.add(uid)
                self.report(error, f"{uid} refuses all connections")
            news = before is None or standing.reason != before.reason
            if standing.reason and news and local:
                level = logging.INFO if standing.waiting else logging.ERROR
                logger.log(level, "%s: %s", uid, standing.reason)
            chosen = standing.policies
            if before is not None and chosen is not None and chosen != before.policies:
                self.to_check.add(uid)
                self.work.set()
        self.retire()

    async def stand(self, workload: Workload, before: Standing | None) -> Standing:
        """What a workload's guards should say; writes the set that they need."""
        adopted = before is not None and before.adopted
        choice = choose(self.policies.select(workload), adopted=adopted)
        previous = before or REFUSING
        if isinstance(choice, Keep):
            return kept(previous, choice.reason, waiting=choice.waiting)
        if not isinstance(choice, Apply):
            return refused(choice.reason)
        try:
            number = await self.sets.number_of(choice.policies)
        except TooLargeError as error:
            return refused(f"its policies are {error}")
        except MapFullError as error:
            self.unsettled.add(workload.uid)
            if self.local(workload.uid):
                self.forget_parted()
            self.report(error, f"{workload.uid} keeps what it had")
            return kept(previous, str(error))
        return Standing(number, 0, choice.policies)

    def part(self, workload: int) -> None:
        """A workload, by the hash of its uid, has no enrolled pod any more."""
        self.adopted.discard(workload)
        if self.complete and self.mesh.workload_by_hash(workload) is None:
            self.leave(workload)
        else:
            self.guards.mark(workload, parted=True)

    def forget_parted(self) -> bool:
        """Make room: delete what is kept of parted workloads; whether there was any."""
        parted = self.guards.parted()
        for workload in parted:
            self.leave(workload)
        return bool(parted)

    def leave(self, workload: int) -> None:
        """Delete all of a workload's guards; by the hash of its uid."""
        self.standings.pop(workload, None)
        self.guards.leave(workload)
        self.retire()

    def retire(self) -> None:
        """Have sets deleted that no guard names any more."""
        if self.sets.retire({standing.policy for standing in self.standings.values()}):
            self.work.set()

    async def enforce(self, uid: str) -> None:
        """Close a workload's established connections that are denied now."""
        standing = self.standings.get(name_hash(uid))
        workload = self.mesh.workload(uid)
        if standing is None or workload is None or standing.policies is None:
            return
        tunnel = workload.application_tunnel
        rules = Rules(standing.policies, self.sets.identities.get, tunnel.port if tunnel else 0)
        # Files of our own, for a pod may be dismissed meanwhile.
        places = [(home, rules) for home in self.enrolled.namespaces(uid)]
        if uid in self.enrolled.members:
            name = name_hash(uid)
            bound = frozenset(k.port for k, w in self.maps.listeners.items() if w == name)
            homes = await asyncio.to_thread(self.members_netns, uid)
            places += [(home, replace(rules, ports=bound)) for home in homes]
        for netns, judged in places:
            try:
                closed = await asyncio.to_thread(close_denied, netns, self.maps.flows, judged)
            except (BpfError, OSError) as error:
                logger.error("%s: denied connections can't be closed: %s", uid, error)
                continue
            finally:
                os.close(netns)
            for one in closed:
                self.sets.totals.close(one.decision.policy)
                logger.warning("%s: %s", uid, one)

    def report(self, error: MapFullError, consequence: str) -> None:
        """Say that a map is full, and count it."""
        self.full[error.map_name] += 1
        logger.error("%s; %s", error, consequence)

    def dump(self) -> dict[str, Any]:
        """What is in force for each enrolled workload, JSON-able."""
        found = {}
        for uid in sorted(filter(self.local, self.all_guarded())):
            standing = self.standings.get(name_hash(uid), REFUSING)
            found[uid] = {
                "policies": None
                if standing.policies is None
                else [policy.key for policy in standing.policies],
                "chunk": standing.policy,
                "refuses": bool(standing.flags & GuardFlag.REFUSE),
                "reason": standing.reason,
            }
        return found
