"""Which policy set a workload gets.

Nothing unknown is ever passed over. Where a policy that the workload names hasn't
arrived, its previous set stays in force; where one can't be used, it refuses all
connections. Without a previous set, both come to the same.

After a restart the kernel still has what an earlier process put in force, and what
that was isn't known: it may have been the good version of a policy of which only
an unusable one can be had now. So it stays until the policy can be used.
"""

from __future__ import annotations

from dataclasses import dataclass

from ztunnel_compat.policy import Policy
from ztunnel_compat.policy_state import Selection


@dataclass(frozen=True, slots=True)
class Apply:
    """These policies are the workload's, all of them."""

    policies: tuple[Policy, ...]


@dataclass(frozen=True, slots=True)
class Keep:
    """What is in force stays; without anything, all connections are refused.

    waiting: nothing is wrong, the rest is on its way.
    """

    reason: str
    waiting: bool = False


@dataclass(frozen=True, slots=True)
class Refuse:
    """All connections are refused."""

    reason: str


Choice = Apply | Keep | Refuse


def choose(selection: Selection, *, adopted: bool) -> Choice:
    """What to do for a workload; adopted: an earlier process's set is in force."""
    if selection.unusable:
        told = "; ".join(
            f"policy {p.key} can't be used: {p.reason}" for p in selection.unusable
        )
        return Keep(told) if adopted else Refuse(told)
    if selection.missing:
        return Keep(f"not sent yet: policy {', '.join(selection.missing)}", waiting=True)
    return Apply(selection.policies)
