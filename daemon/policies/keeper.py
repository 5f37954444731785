"""Keeps each enrolled workload's guards and policy set as the control plane wants.

A set is written under numbers of its own, then the guards turn to it, then, after a
grace period, the old one goes: a program that read the old number is done by then.
Nothing is written before the first complete push: until then the kernel has what
an earlier process left, or no guard, which refuses.

The network namespace of an enrolled pod is held open, as ztunnel does, to look for
connections in it after a push: of a pod that is gone, the kernel keeps it until
enrolment says so.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from bpf.addresses import mapped
from bpf.errors import BpfError, MapFullError
from bpf.layout import Guard, GuardFlag, LocalAddress, Pod
from bpf.maps import Maps
from daemon import content
from daemon.policies.choice import Apply, Keep, choose
from daemon.policies.compile import TooLargeError, compile_set
from daemon.policies.enforce import Rules, close_denied
from daemon.policies.identities import Account, identity_hash, workload_identity
from daemon.policies.tables import Tables, WrittenSet
from daemon.policies.totals import Totals
from daemon.program import Turn
from ztunnel_compat.identity import Identity
from ztunnel_compat.model import Workload
from ztunnel_compat.names import name_hash
from ztunnel_compat.policy import Policy
from ztunnel_compat.policy_state import PolicyState
from ztunnel_compat.state import WorkloadState

logger = logging.getLogger(__name__)

#: Seconds for which a set stays that no guard names: a program runs for microseconds.
GRACE: Final = 0.1
#: Sets that are gone and whose policies' names are still known, for late readers.
REMEMBERED: Final = 64

Policies = tuple[Policy, ...]


@dataclass(frozen=True, slots=True)
class EnrolledPod:
    """A pod whose inbound connections are guarded; netns: an open file of ours."""

    uid: str
    account: Account
    netns: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What a workload's guards say. policies: None if an earlier process chose them.

    reason: why they refuse, or aren't what the control plane wants; else empty.
    waiting: because the rest is on its way.
    """

    policy: int = 0
    flags: int = 0
    policies: Policies | None = None
    reason: str = ""
    adopted: bool = False
    waiting: bool = False


REFUSING: Final = Standing(flags=GuardFlag.REFUSE)


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
        self.network = network
        self.set_chunks = set_chunks
        self.live = live
        self.tables = Tables(maps)
        self.guards: dict[bytes, Guard] = {k.address: g for k, g in maps.guards.items()}
        self.standings: dict[int, Standing] = {
            guard.workload: Standing(guard.policy, guard.flags, adopted=True)
            for guard in self.guards.values()
        }
        self.addresses: dict[int, set[bytes]] = {}
        for address, guard in self.guards.items():
            self.addresses.setdefault(guard.workload, set()).add(address)
        self.adopted = {pod.workload for pod in live()}
        self.pods: dict[str, EnrolledPod] = {}
        self.enrolled: Counter[str] = Counter()
        self.members: Counter[str] = Counter()
        #: The network namespaces of a member's processes, as files that we close; blocks.
        self.members_netns: Callable[[str], list[int]] = lambda _uid: []
        self.identities: dict[int, Identity] = {}
        self.sets: dict[Policies, WrittenSet] = {}
        self.by_number: OrderedDict[int, WrittenSet] = OrderedDict()
        self.retired: list[WrittenSet] = []
        self.to_check: set[str] = set()
        self.unsettled: set[str] = set()
        self.work = asyncio.Event()
        self.lock = asyncio.Lock()
        self.complete = False
        self.full: Counter[str] = Counter()
        self.totals = Totals(maps.hits, self.policy_of)

    def close(self) -> None:
        """Let go of the pods' network namespaces; the kernel keeps what it has."""
        for pod in self.pods.values():
            os.close(pod.netns)
        self.pods.clear()

    async def enroll(self, key: str, uid: str, account: Account, netns_fd: int) -> None:
        """Guard a pod, before anything is attached to it; key: enrolment's own."""
        async with self.lock:
            before = self.pods.pop(key, None)
            if before is not None:
                os.close(before.netns)
                self.enrolled[before.uid] -= 1
            self.pods[key] = EnrolledPod(uid, account, os.dup(netns_fd))
            self.enrolled[uid] += 1
            self.learn(account.identity(self.mesh.workload(uid)))
            if self.complete:
                await self.settle({uid})

    async def enroll_member(self, uid: str) -> None:
        """Guard a workload whose processes share the node's addresses."""
        async with self.lock:
            self.members[uid] += 1
            self.enrolled[uid] += 1
            self.learn_all({uid})
            workload = self.mesh.workload(uid)
            if workload is not None:
                self.learn(workload_identity(workload))
            if self.complete:
                await self.settle({uid})

    async def dismiss_member(self, uid: str) -> None:
        """One cgroup of a workload is no member any more."""
        async with self.lock:
            self.enrolled[uid] -= 1
            self.members[uid] -= 1
            if not self.members[uid]:
                del self.members[uid]
                self.maps.member_guards.delete(name_hash(uid))
            if not self.enrolled[uid]:
                del self.enrolled[uid]
                self.leave(name_hash(uid))

    async def dismiss(self, key: str) -> None:
        """A pod is guarded no longer; nothing must be attached to it any more."""
        async with self.lock:
            pod = self.pods.pop(key, None)
            if pod is None:
                return
            os.close(pod.netns)
            self.enrolled[pod.uid] -= 1
            if not self.enrolled[pod.uid]:
                del self.enrolled[pod.uid]
                self.leave(name_hash(pod.uid))

    async def push(self, *, policies: bool, workloads: Iterable[str]) -> None:
        """Take in what changed: any policy, or these workloads. The first one: all."""
        async with self.lock:
            first = not self.complete
            self.complete = True
            changed = self.unsettled | set(self.all_local() if policies or first else workloads)
            changed = {uid for uid in changed if self.local(uid)}
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
            known = self.adopted | {name_hash(uid) for uid in self.enrolled}
            for workload in self.standings.keys() - known:
                self.leave(workload)
            used = {
                n
                for guard in self.guards.values()
                for n in self.tables.numbers_of(guard.policy)
            }
            for written in (*self.sets.values(), *self.retired):
                used |= set(numbers(written))
            gone = await asyncio.to_thread(self.tables.sweep, used)
            if gone:
                logger.info("deleted %d chunks of policies that nothing uses", gone)

    async def run(self) -> None:
        """Close what is denied now and delete old sets, for ever."""
        while True:
            await self.work.wait()
            self.work.clear()
            retired = list(self.retired)
            to_check, self.to_check = self.to_check, set()
            for uid in sorted(to_check):
                await self.enforce(uid)
            await asyncio.sleep(GRACE)
            async with self.lock:
                for written in retired:
                    self.totals.fold(numbers(written))
                    self.tables.remove(written)
                del self.retired[: len(retired)]
                while len(self.by_number) > REMEMBERED + len(self.sets) + len(self.retired):
                    self.forget_oldest()

    def policy_of(self, chunk: int, rule: int) -> str:
        """The key of the policy that a chunk's rule is of; empty if there is none."""
        for number, written in reversed(self.by_number.items()):
            if number <= chunk < number + len(written.compiled.chunks):
                return written.compiled.policy(chunk - number, rule)
        return ""

    def local(self, uid: str) -> bool:
        """Whether a workload has a pod here."""
        return uid in self.enrolled or name_hash(uid) in self.adopted

    def all_local(self) -> set[str]:
        """All workloads with a pod here, as far as they are known."""
        adopted = {self.mesh.workload_by_hash(number) for number in self.adopted}
        return set(self.enrolled) | {workload.uid for workload in adopted if workload}

    def learn_all(self, uids: set[str]) -> None:
        """Learn the identities of pods: by enrolment, else by the control plane."""
        for pod in self.pods.values():
            if pod.uid in uids:
                self.learn(pod.account.identity(self.mesh.workload(pod.uid)))
        for uid in uids - self.enrolled.keys():
            workload = self.mesh.workload(uid)
            if workload is not None:
                self.learn(workload_identity(workload))

    def learn(self, identity: Identity) -> None:
        """Let every set know an identity, before anybody can connect with it."""
        number = identity_hash(identity)
        if number in self.identities:
            return
        try:
            for written in (*self.sets.values(), *self.retired):
                self.tables.add_identity(written, identity)
        except MapFullError as error:
            self.report(error, f"{identity} is refused where policies look at identities")
            return
        self.identities[number] = identity

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
            self.guard(workload, standing)
            if standing.reason and (before is None or standing.reason != before.reason):
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
            return replace(kept(previous, choice.reason), waiting=choice.waiting)
        if not isinstance(choice, Apply):
            return Standing(flags=GuardFlag.REFUSE, reason=refusal(choice.reason))
        try:
            number = await self.set_of(choice.policies)
        except TooLargeError as error:
            return Standing(flags=GuardFlag.REFUSE, reason=refusal(f"its policies are {error}"))
        except MapFullError as error:
            self.unsettled.add(workload.uid)
            self.report(error, f"{workload.uid} keeps what it had")
            return kept(previous, str(error))
        return Standing(number, 0, choice.policies)

    async def set_of(self, policies: Policies) -> int:
        """The first number of a set, written if it isn't; 0: no policy has a say."""
        written = self.sets.get(policies)
        if written is None:
            compiled = await asyncio.to_thread(compile_set, policies, self.set_chunks)
            if not compiled.chunks:
                return 0
            turn = Turn()
            for part in self.tables.write(compiled, self.identities.values()):
                written = part
                await turn.step()
            assert written is not None
            self.sets[policies] = written
            self.by_number[written.number] = written
        return written.number

    def guard(self, workload: Workload, standing: Standing) -> None:
        """Write the guards of a workload's addresses, and delete those it lost."""
        name = name_hash(workload.uid)
        tunnel = workload.application_tunnel
        guard = Guard(
            workload=name,
            policy=standing.policy,
            identity_port=tunnel.port if tunnel else 0,
            flags=standing.flags,
        )
        wanted = {mapped(a) for a in content.pod_addresses(workload, self.network)}
        if workload.uid in self.members:
            self.maps.member_guards.put(name, guard)
            wanted = set()
        for address in sorted(wanted):
            if self.guards.get(address) != guard:
                try:
                    self.maps.guards.put(LocalAddress(address), guard)
                    self.guards[address] = guard
                    self.addresses.setdefault(name, set()).add(address)
                except MapFullError as error:
                    self.unsettled.add(workload.uid)
                    self.report(error, f"{workload.uid} refuses all connections")
        for address in self.addresses.get(name, set()) - wanted:
            self.unguard(address, name)

    def leave(self, workload: int) -> None:
        """Delete all of a workload's guards; by the hash of its uid."""
        self.standings.pop(workload, None)
        for address in list(self.addresses.get(workload, ())):
            self.unguard(address, workload)
        self.retire()

    def unguard(self, address: bytes, workload: int) -> None:
        """Delete a workload's guard, unless another's stands there by now."""
        self.addresses[workload].discard(address)
        if not self.addresses[workload]:
            del self.addresses[workload]
        owner = self.guards.get(address)
        if owner is not None and owner.workload == workload:
            self.maps.guards.delete(LocalAddress(address))
            del self.guards[address]

    def retire(self) -> None:
        """Have sets deleted that no guard names any more."""
        used = {standing.policy for standing in self.standings.values()}
        for policies, written in list(self.sets.items()):
            if written.number not in used:
                del self.sets[policies]
                self.retired.append(written)
                self.work.set()

    async def enforce(self, uid: str) -> None:
        """Close a workload's established connections that are denied now."""
        standing = self.standings.get(name_hash(uid))
        workload = self.mesh.workload(uid)
        if standing is None or workload is None or standing.policies is None:
            return
        tunnel = workload.application_tunnel
        rules = Rules(standing.policies, self.identities.get, tunnel.port if tunnel else 0)
        # Files of our own, for a pod may be dismissed meanwhile.
        places = [(os.dup(pod.netns), rules) for pod in self.pods.values() if pod.uid == uid]
        if uid in self.members:
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
                self.totals.close(one.decision.policy)
                logger.warning("%s: %s", uid, one)

    def namespaces(self) -> list[int]:
        """The enrolled pods' network namespaces, as files of the caller's own."""
        return [os.dup(pod.netns) for pod in self.pods.values()]

    def forget_oldest(self) -> None:
        """Forget the policies' names of the set that is gone for the longest time."""
        kept_numbers = {written.number for written in (*self.sets.values(), *self.retired)}
        for number in self.by_number:
            if number not in kept_numbers:
                del self.by_number[number]
                return

    def report(self, error: MapFullError, consequence: str) -> None:
        """Say that a map is full, and count it."""
        self.full[error.map_name] += 1
        logger.error("%s; %s", error, consequence)

    def dump(self) -> dict[str, Any]:
        """What is in force for each enrolled workload, JSON-able."""
        found = {}
        for uid in sorted(self.all_local()):
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


def numbers(written: WrittenSet) -> range:
    """The numbers of a set's chunks."""
    return range(written.number, written.number + len(written.compiled.chunks))


def kept(previous: Standing, reason: str) -> Standing:
    """A standing that goes on, though it isn't what the control plane wants."""
    told = f"{reason}; what was in force stays"
    if previous.flags & GuardFlag.REFUSE:
        told = refusal(reason)
    return Standing(
        previous.policy, previous.flags, previous.policies, told, adopted=previous.adopted
    )


def refusal(reason: str) -> str:
    """Why nobody may connect."""
    return f"{reason}; all connections are refused"
