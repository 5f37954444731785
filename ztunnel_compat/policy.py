"""Authorization policies as frozen values (istio.security.Authorization).

A policy's rules are alternatives; all clauses of a rule must hold; a clause's
matches are alternatives; all fields of a match must hold, and of a field's
values any, of a ``not_`` field's none. ``rbac`` says what that means for a
connection.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from ztunnel_compat.identity import Identity


class PolicyScope(IntEnum):
    """Which workloads a policy is for."""

    GLOBAL = 0
    NAMESPACE = 1
    WORKLOAD_SELECTOR = 2


class Action(IntEnum):
    """What a policy that matches does."""

    ALLOW = 0
    DENY = 1


class StringRule(IntEnum):
    """How a text is compared."""

    EXACT = 0
    PREFIX = 1
    SUFFIX = 2
    PRESENCE = 3


@dataclass(frozen=True, slots=True)
class StringMatch:
    """A condition on a text; PRESENCE: any but the empty one."""

    rule: StringRule
    text: str = ""

    def matches(self, text: str) -> bool:
        """Whether the condition holds."""
        match self.rule:
            case StringRule.EXACT:
                return text == self.text
            case StringRule.PREFIX:
                return text.startswith(self.text)
            case StringRule.SUFFIX:
                return text.endswith(self.text)
            case StringRule.PRESENCE:
                return text != ""


@dataclass(frozen=True, slots=True)
class ServiceAccountMatch:
    """A service account of any trust domain: both parts exactly."""

    namespace: str
    service_account: str

    def matches(self, identity: Identity | None) -> bool:
        """Whether an identity is this account's."""
        return (
            identity is not None
            and identity.namespace == self.namespace
            and identity.service_account == self.service_account
        )


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses with a common prefix of ``length`` bits; the other bits are 0.

    address: 4 or 16 bytes, never IPv4-mapped. No range holds addresses of both
    families.
    """

    address: bytes
    length: int

    def holds(self, address: bytes) -> bool:
        """Whether a packed address (4 or 16 bytes, never mapped) is in the range."""
        if len(address) != len(self.address):
            return False
        rest = 8 * len(address) - self.length
        difference = int.from_bytes(address) ^ int.from_bytes(self.address)
        return difference >> rest == 0


@dataclass(frozen=True, slots=True)
class Match:
    """Conditions that must all hold; one that has no condition never does."""

    namespaces: tuple[StringMatch, ...] = ()
    not_namespaces: tuple[StringMatch, ...] = ()
    principals: tuple[StringMatch, ...] = ()
    not_principals: tuple[StringMatch, ...] = ()
    service_accounts: tuple[ServiceAccountMatch, ...] = ()
    not_service_accounts: tuple[ServiceAccountMatch, ...] = ()
    source_ips: tuple[Range, ...] = ()
    not_source_ips: tuple[Range, ...] = ()
    destination_ips: tuple[Range, ...] = ()
    not_destination_ips: tuple[Range, ...] = ()
    destination_ports: tuple[int, ...] = ()
    not_destination_ports: tuple[int, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is no condition."""
        return self == NO_CONDITION


NO_CONDITION = Match()

Clause = tuple[Match, ...]
Rule = tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """One authorization policy."""

    name: str
    namespace: str
    scope: PolicyScope = PolicyScope.GLOBAL
    action: Action = Action.ALLOW
    rules: tuple[Rule, ...] = field(default=())
    dry_run: bool = False

    @property
    def key(self) -> str:
        """The policy's xDS name, ``namespace/name``."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class UnusablePolicy:
    """A policy that can't be fully understood, and why.

    scope None: that can't be told either, so it may be for any workload.
    """

    key: str
    scope: PolicyScope | None
    reason: str

    @property
    def namespace(self) -> str:
        """The namespace that its xDS name gives."""
        return self.key.partition("/")[0]
