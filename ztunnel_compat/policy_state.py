"""The authorization policies as last pushed, and which apply to a workload.

A policy that can't be understood is NACKed. If a good version of it is in use,
that stays in force, as with every other resource: what works isn't lost by a
push that is wrong. If there is none, leaving the policy out could widen access,
so it is kept under its name as unusable, and each workload that it selects fails
closed until it is usable or gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ztunnel_compat.dump import plain
from ztunnel_compat.model import Workload
from ztunnel_compat.policy import Policy, PolicyScope, UnusablePolicy
from ztunnel_compat.xds import Rejection


@dataclass(frozen=True, slots=True)
class Selection:
    """The policies of a workload, in the order of their keys.

    missing: keys that the workload names and nobody has sent yet (the control
    plane sends addresses first); unusable: what selects it and can't be used.
    """

    policies: tuple[Policy, ...]
    missing: tuple[str, ...] = ()
    unusable: tuple[UnusablePolicy, ...] = ()


class PolicyState:
    """Policies by their keys, and indexed by what they select."""

    def __init__(self) -> None:
        self.policies: dict[str, Policy] = {}
        self.unusable: dict[str, UnusablePolicy] = {}
        # Keys by namespace, "" for all: of those that select by scope.
        self.scoped: dict[str, set[str]] = {}

    def apply(
        self, updated: Iterable[Policy | UnusablePolicy], removed: Iterable[str]
    ) -> tuple[frozenset[str], tuple[Rejection, ...]]:
        """Take a delta in; the keys of what changed, and what is to be NACKed."""
        changed = set()
        rejected = []
        for key in removed:
            if self.replace(key, None):
                changed.add(key)
        for one in updated:
            if isinstance(one, UnusablePolicy):
                if one.key in self.policies:
                    kept = "its last good version stays in force"
                    rejected.append(Rejection(one.key, f"{one.reason}; {kept}"))
                    continue
                consequence = "workloads that it selects refuse all connections"
                rejected.append(Rejection(one.key, f"{one.reason}; {consequence}"))
            if self.replace(one.key, one):
                changed.add(one.key)
        return frozenset(changed), tuple(rejected)

    def replace(self, key: str, new: Policy | UnusablePolicy | None) -> bool:
        """Put new in the place of what has this key; whether that is a change."""
        old = self.policies.get(key) or self.unusable.get(key)
        if old == new:
            return False
        if old is not None:
            self.policies.pop(key, None)
            self.unusable.pop(key, None)
            for place in places(old):
                self.scoped[place].discard(key)
                if not self.scoped[place]:
                    del self.scoped[place]
        if isinstance(new, Policy):
            self.policies[key] = new
        elif new is not None:
            self.unusable[key] = new
        for place in places(new) if new is not None else ():
            self.scoped.setdefault(place, set()).add(key)
        return True

    def select(self, workload: Workload) -> Selection:
        """What applies to a workload: its namespace's, global ones, those it names."""
        named = set(workload.authorization_policies)
        keys = named | self.scoped.get("", set()) | self.scoped.get(workload.namespace, set())
        policies = []
        missing = []
        unusable = []
        for key in sorted(keys):
            if key in self.policies:
                policies.append(self.policies[key])
            elif key in self.unusable:
                unusable.append(self.unusable[key])
            else:
                missing.append(key)
        return Selection(tuple(policies), tuple(missing), tuple(unusable))

    def dump(self) -> dict[str, Any]:
        """The policies as JSON-able values; fields that have their default are left out."""
        return {
            "policies": {key: plain(policy) for key, policy in sorted(self.policies.items())},
            "unusablePolicies": {
                key: policy.reason for key, policy in sorted(self.unusable.items())
            },
        }


def places(policy: Policy | UnusablePolicy) -> Sequence[str]:
    """Where a policy is indexed: a namespace, "" for all, or nowhere."""
    match policy.scope:
        case PolicyScope.NAMESPACE:
            return (policy.namespace,)
        case PolicyScope.WORKLOAD_SELECTOR:
            return ()
        case _:
            return ("",)
