"""What a workload's guards say, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bpf.layout import GuardFlag
from ztunnel_compat.policy import Policy

Policies = tuple[Policy, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """What a workload's guards say. policies: None if an earlier process chose them.

    policy: the number of the set's first chunk. reason: why they refuse, or aren't what
    the control plane wants; else empty. waiting: because the rest is on its way.
    """

    policy: int = 0
    flags: int = 0
    policies: Policies | None = None
    reason: str = ""
    adopted: bool = False
    waiting: bool = False


REFUSING: Final = Standing(flags=GuardFlag.REFUSE)


def kept(previous: Standing, reason: str, *, waiting: bool = False) -> Standing:
    """A standing that goes on, though it isn't what the control plane wants."""
    told = f"{reason}; what was in force stays"
    if previous.flags & GuardFlag.REFUSE:
        told = refusal(reason)
    return Standing(
        previous.policy, previous.flags, previous.policies, told, previous.adopted, waiting
    )


def refused(reason: str) -> Standing:
    """A standing that lets nobody connect."""
    return Standing(flags=GuardFlag.REFUSE, reason=refusal(reason))


def refusal(reason: str) -> str:
    """Why nobody may connect."""
    return f"{reason}; all connections are refused"
