"""The reference evaluator: may a connection reach a workload with these policies?

Istio's order: a DENY policy that matches refuses; without any ALLOW policy the
rest passes; else one must match. A policy without rules never matches, so an
ALLOW of that kind alone refuses everything. Policies that are dry run have no
say; what they alone would say is told beside the verdict.

The kernel's bit vectors (``daemon/policies/compile.py``, ``bpf/include/authz.h``)
are held equal to this by a differential test, the policy that is named included:
of several that match, the first in the order of the set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from ztunnel_compat.identity import Identity
from ztunnel_compat.policy import Action, Clause, Match, Policy, Rule

T = TypeVar("T")
SCHEME = "spiffe://"


@dataclass(frozen=True, slots=True)
class Connection:
    """What is decided on; addresses are packed (4 or 16 bytes, never mapped).

    identity: proven, or None; port: of the destination, as the application has it.
    """

    identity: Identity | None
    source: bytes
    destination: bytes
    port: int


class Reason(Enum):
    """Why a connection is allowed or not."""

    NO_POLICY = "no ALLOW policy"
    ALLOWED = "allowed by policy"
    DENIED = "denied by policy"
    NOT_ALLOWED = "no ALLOW policy matches"


@dataclass(frozen=True, slots=True)
class Decision:
    """What some policies say; policy: the key of the one that decided, or empty."""

    allowed: bool
    reason: Reason
    policy: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is enforced, and what dry-run policies alone would say (None: there are none)."""

    enforced: Decision
    dry_run: Decision | None = None

    @property
    def allowed(self) -> bool:
        """Whether the connection passes."""
        return self.enforced.allowed


def evaluate(policies: Sequence[Policy], connection: Connection) -> Verdict:
    """The verdict on a connection; policies: all that apply to its destination."""
    trial = [policy for policy in policies if policy.dry_run]
    enforced = decide([policy for policy in policies if not policy.dry_run], connection)
    return Verdict(enforced, decide(trial, connection) if trial else None)


def decide(policies: Sequence[Policy], connection: Connection) -> Decision:
    """What policies say, none of them set aside."""
    allowing = False
    for policy in policies:
        if policy.action is Action.ALLOW:
            allowing = True
        elif policy_matches(policy, connection):
            return Decision(False, Reason.DENIED, policy.key)
    if not allowing:
        return Decision(True, Reason.NO_POLICY)
    for policy in policies:
        if policy.action is Action.ALLOW and policy_matches(policy, connection):
            return Decision(True, Reason.ALLOWED, policy.key)
    return Decision(False, Reason.NOT_ALLOWED)


def policy_matches(policy: Policy, connection: Connection) -> bool:
    """Whether any rule matches."""
    return any(rule_matches(rule, connection) for rule in policy.rules)


def rule_matches(rule: Rule, connection: Connection) -> bool:
    """Whether every clause matches; a rule without clauses does."""
    return all(clause_matches(clause, connection) for clause in rule)


def clause_matches(clause: Clause, connection: Connection) -> bool:
    """Whether any match does; a clause without matches holds."""
    return not clause or any(
        not match.empty and match_matches(match, connection) for match in clause
    )


def match_matches(match: Match, connection: Connection) -> bool:
    """Whether every field holds."""
    return (
        identity_matches(match, connection.identity)
        and field_matches(
            match.source_ips, match.not_source_ips, lambda r: r.holds(connection.source)
        )
        and field_matches(
            match.destination_ips,
            match.not_destination_ips,
            lambda r: r.holds(connection.destination),
        )
        and field_matches(
            match.destination_ports,
            match.not_destination_ports,
            lambda port: port == connection.port,
        )
    )


def identity_matches(match: Match, identity: Identity | None) -> bool:
    """Whether the fields that look at the source's identity hold.

    Without an identity the namespace is the empty text, and no principal is there
    to be compared, so that ``not_`` fields hold.
    """
    namespace = "" if identity is None else identity.namespace
    principal = None if identity is None else str(identity).removeprefix(SCHEME)
    return (
        field_matches(match.namespaces, match.not_namespaces, lambda m: m.matches(namespace))
        and field_matches(
            match.principals,
            match.not_principals,
            lambda m: principal is not None and m.matches(principal),
        )
        and field_matches(
            match.service_accounts,
            match.not_service_accounts,
            lambda m: m.matches(identity),
        )
    )


def field_matches(
    positive: Iterable[T], negative: Iterable[T], holds: Callable[[T], bool]
) -> bool:
    """Whether any of ``positive`` holds, or there is none, and none of ``negative``."""
    values = tuple(positive)
    return (not values or any(map(holds, values))) and not any(map(holds, negative))
