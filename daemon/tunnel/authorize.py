"""Who may reach a pod through a tunnel, and who may go on after a push.

The same policies as at the SYN (``daemon/policies``), with the identity that the
client's certificate proves. What isn't known isn't passed over: without its workload
or one of its policies a pod takes nobody, but what was in force for it stays in force
while a policy that it names is on its way (``daemon/policies/choice.py``).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final, Protocol

from daemon.policies.choice import Apply, Keep, choose
from daemon.program import Turn
from daemon.telemetry.access_log import NOT_ALLOWED, denied_by
from ztunnel_compat.policy import Policy
from ztunnel_compat.policy_state import PolicyState
from ztunnel_compat.rbac import Connection, Decision, Reason, Verdict, evaluate
from ztunnel_compat.state import Changes, WorkloadState

logger = logging.getLogger(__name__)

#: Seconds that a connection waits for the control plane to tell of its destination;
#: ztunnel's.
UNKNOWN: Final = 5.0
#: Verdicts that are kept for a workload until something is pushed.
MOST_VERDICTS: Final = 4096


@dataclass(frozen=True, slots=True)
class Standing:
    """What is in force for a workload. policies: None: nobody may connect.

    reason: why it isn't what the control plane wants, or empty; waiting: because the rest
    is on its way. verdicts: those that were asked for, of this workload's connections.
    """

    policies: tuple[Policy, ...] | None
    reason: str = ""
    waiting: bool = False
    verdicts: dict[Connection, Verdict] = field(default_factory=dict, compare=False)

    def verdict(self, connection: Connection) -> Verdict:
        """What the policies say; the same client asks again and again."""
        assert self.policies is not None
        known = self.verdicts.get(connection)
        if known is None:
            known = evaluate(self.policies, connection)
            if len(self.verdicts) >= MOST_VERDICTS:
                self.verdicts.clear()
            self.verdicts[connection] = known
        return known


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a connection isn't let through; policy: the key of the one that decided."""

    reason: str
    policy: str = ""


class Admitted(Protocol):
    """A connection that was let through, or is about to be."""

    @property
    def connection(self) -> Connection:
        """What is decided on."""
        ...

    def revoke(self, denial: Denial) -> None:
        """It is denied by now: end it."""
        ...


class Authorizer:
    """Decides on tunnelled connections to this node's pods, by their workloads' uids.

    synced: set once the control plane has said everything. denied, dry_run:
    connections by the policy that decided, empty where no ALLOW policy matched.
    """

    def __init__(
        self, mesh: WorkloadState, policies: PolicyState, synced: asyncio.Event
    ) -> None:
        self.mesh = mesh
        self.policies = policies
        self.synced = synced
        self.standings: dict[str, Standing] = {}
        self.admitted: dict[str, set[Admitted]] = {}
        self.denied: Counter[str] = Counter()
        self.dry_run: Counter[str] = Counter()
        self.to_check: set[str] = set()
        self.work = asyncio.Event()
        self.news = asyncio.Event()

    def is_settled(self, uid: str) -> bool:
        """Whether it is known who may reach a workload."""
        return self.synced.is_set() and self.standing(uid).policies is not None

    async def settled(self, uid: str, seconds: float = UNKNOWN) -> None:
        """Wait until it is known who may reach a workload, but not for long."""
        try:
            async with asyncio.timeout(seconds):
                await self.synced.wait()
                while self.standing(uid).policies is None:
                    await self.news.wait()
        except TimeoutError:
            if self.synced.is_set():
                logger.error("tunnels to %s: %s", uid, self.standing(uid).reason)

    def admit(self, uid: str, one: Admitted) -> Denial | None:
        """Let a connection to a workload through, or say why not.

        What is let through is looked at again after each push, until ``leave``.
        """
        if not self.synced.is_set():
            return Denial("the control plane hasn't told yet which policies there are")
        standing = self.standing(uid)
        if standing.policies is None:
            self.deny(Decision(False, Reason.NOT_ALLOWED))
            return Denial(standing.reason)
        verdict = standing.verdict(one.connection)
        trial = verdict.dry_run
        if trial is not None and not trial.allowed:
            self.dry_run[trial.policy] += 1
        if not verdict.allowed:
            return self.deny(verdict.enforced)
        self.admitted.setdefault(uid, set()).add(one)
        return None

    def leave(self, uid: str, one: Admitted) -> None:
        """A connection ended; harmless for one that wasn't let through."""
        others = self.admitted.get(uid)
        if others is not None:
            others.discard(one)
            if not others:
                del self.admitted[uid]

    def forget(self, uid: str) -> None:
        """A workload has no pod here any more."""
        self.standings.pop(uid, None)

    def on_change(self, changes: Changes) -> None:
        """Something was pushed."""
        for uid in list(self.standings):
            if not changes.policies and uid not in changes.workloads:
                continue
            before = self.standings[uid].policies
            after = self.settle(uid).policies
            if after is not None and after != before:
                self.to_check.add(uid)
                self.work.set()
        news, self.news = self.news, asyncio.Event()
        news.set()

    async def run(self) -> None:
        """After each push end what is denied by then, for ever."""
        while True:
            await self.work.wait()
            self.work.clear()
            to_check, self.to_check = self.to_check, set()
            turn = Turn()
            for uid in sorted(to_check):
                for one in list(self.admitted.get(uid, ())):
                    self.check_again(uid, one)
                    await turn.step()

    def check_again(self, uid: str, one: Admitted) -> None:
        """End a connection that is denied by now."""
        policies = self.standing(uid).policies
        if policies is None or one not in self.admitted.get(uid, ()):
            return
        decision = evaluate(policies, one.connection).enforced
        if not decision.allowed:
            denial = self.deny(decision)
            logger.warning(
                "%s: tunnelled connection of %s from %s to port %d closed: %s",
                uid,
                one.connection.identity,
                ip_address(one.connection.source),
                one.connection.port,
                denial.reason,
            )
            self.leave(uid, one)
            one.revoke(denial)

    def standing(self, uid: str) -> Standing:
        """What is in force for a workload."""
        return self.standings.get(uid) or self.settle(uid)

    def settle(self, uid: str) -> Standing:
        """Find out what is to be in force for a workload."""
        before = self.standings.get(uid)
        after = self.choose(uid, before)
        self.standings[uid] = after
        if after.reason and (before is None or before.reason != after.reason):
            # What is on its way is an error once somebody waited for it in vain.
            level = logging.INFO if after.waiting else logging.ERROR
            logger.log(level, "tunnels to %s: %s", uid, after.reason)
        return after

    def choose(self, uid: str, before: Standing | None) -> Standing:
        """What is to be in force after what was."""
        workload = self.mesh.workload(uid)
        if workload is None:
            reason = "the control plane doesn't know the workload"
            return before or Standing(None, reason, waiting=True)
        choice = choose(self.policies.select(workload), adopted=False)
        if isinstance(choice, Apply):
            return Standing(choice.policies)
        waiting = isinstance(choice, Keep) and choice.waiting
        kept = before.policies if isinstance(choice, Keep) and before is not None else None
        if kept is None:
            return Standing(None, f"{choice.reason}; all connections are refused", waiting)
        return Standing(kept, f"{choice.reason}; what was in force stays", waiting)

    def deny(self, decision: Decision) -> Denial:
        """Count that a connection isn't let through; the access log says so."""
        self.denied[decision.policy] += 1
        why = denied_by(decision.policy) if decision.policy else NOT_ALLOWED
        return Denial(why, decision.policy)

    def dump(self) -> Mapping[str, object]:
        """What is in force for each workload that tunnels lead to, JSON-able."""
        return {
            uid: {
                "policies": keys(standing.policies),
                "reason": standing.reason,
                "connections": len(self.admitted.get(uid, ())),
            }
            for uid, standing in sorted(self.standings.items())
        }


def keys(policies: Sequence[Policy] | None) -> list[str] | None:
    """Policies by their keys."""
    return None if policies is None else [policy.key for policy in policies]
