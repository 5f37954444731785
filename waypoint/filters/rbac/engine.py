"""The decision: which policy holds, and what comes of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

from waypoint.filters.rbac.conditions import Condition
from waypoint.filters.verdicts import PASSED, Asked, Passed, Refusal, Verdict

DENIED = b"RBAC: access denied"


class Action(enum.Enum):
    """What a match of a policy means."""

    ALLOW = "ALLOW"
    DENY = "DENY"
    LOG = "LOG"


@dataclass(frozen=True, slots=True)
class Policy:
    """One of the permissions, asked for by one of the principals. name: for the log."""

    name: str
    permissions: tuple[Condition, ...]
    principals: tuple[Condition, ...]

    @property
    def reads_connection(self) -> bool:
        """Whether one of the conditions does."""
        return any(part.reads_connection for part in (*self.permissions, *self.principals))

    @property
    def reads_path(self) -> bool:
        """Whether one of the conditions does."""
        return any(part.reads_path for part in (*self.permissions, *self.principals))

    def holds(self, asked: Asked) -> bool:
        """Whether it is about this request."""
        for permission in self.permissions:
            if permission.holds(asked):
                break
        else:
            return False
        return any(principal.holds(asked) for principal in self.principals)


class Result(NamedTuple):
    """Whether rules let a request pass; policy: the one that held, or empty."""

    allowed: bool
    policy: str

    @property
    def word(self) -> str:
        """Envoy's word for it."""
        return "allowed" if self.allowed else "denied"

    @property
    def details(self) -> str:
        """The access log's word for a denial."""
        name = "_".join(self.policy.split()) or "none"
        return f"rbac_access_denied_matched_policy[{name}]"


@dataclass(frozen=True, slots=True)
class Rules:
    """Policies by name, in the order in which they are asked: the first that holds counts."""

    action: Action
    policies: tuple[Policy, ...]

    def __post_init__(self) -> None:
        ordered = sorted(self.policies, key=lambda policy: policy.name.encode())
        object.__setattr__(self, "policies", tuple(ordered))

    @property
    def reads_connection(self) -> bool:
        """Whether one of the policies does."""
        return any(policy.reads_connection for policy in self.policies)

    @property
    def reads_path(self) -> bool:
        """Whether one of the policies does."""
        return any(policy.reads_path for policy in self.policies)

    def first(self, asked: Asked) -> str | None:
        """The name of the policy that counts for a request; None: none holds."""
        for policy in self.policies:
            if policy.holds(asked):
                return policy.name
        return None

    def result(self, name: str | None) -> Result:
        """What it means that a policy counts."""
        allowed = self.action is Action.LOG or (name is not None) is (
            self.action is Action.ALLOW
        )
        return Result(allowed, name or "")


@dataclass(frozen=True, slots=True)
class Settings:
    """Rules that are enforced, and others whose result is only noted and counted.

    The prefixes go before the names of notes and counters.
    """

    rules: Rules | None = None
    shadow: Rules | None = None
    prefix: str = ""
    shadow_prefix: str = ""
    reads_connection: bool = field(init=False)
    reads_path: bool = field(init=False)
    #: Verdicts, by the policies that count for the shadow and for the enforced rules.
    known: dict[tuple[str | None, str | None], Verdict] = field(
        init=False, compare=False, repr=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        sets = [rules for rules in (self.rules, self.shadow) if rules is not None]
        reads = any(rules.reads_connection for rules in sets)
        object.__setattr__(self, "reads_connection", reads)
        reads = any(rules.reads_path for rules in sets)
        object.__setattr__(self, "reads_path", reads)

    def decide(self, asked: Asked) -> Verdict:
        """What becomes of a request."""
        key = (
            None if self.shadow is None else self.shadow.first(asked),
            None if self.rules is None else self.rules.first(asked),
        )
        verdict = self.known.get(key)
        if verdict is None:
            verdict = self.known[key] = self.verdict(*key)
        return verdict

    def verdict(self, shadowed: str | None, enforced: str | None) -> Verdict:
        """What becomes of requests for which these policies count."""
        if self.rules is None and self.shadow is None:
            return PASSED
        notes: dict[str, object] = {}
        counts: list[str] = []
        if self.shadow is not None:
            shadow = self.shadow.result(shadowed)
            note(notes, f"{self.shadow_prefix}shadow", shadow)
            counts.append(f"rbac.{self.shadow_prefix}shadow_{shadow.word}")
        if self.rules is None:
            return Passed(notes=notes, counts=tuple(counts))
        found = self.rules.result(enforced)
        note(notes, f"{self.prefix}enforced", found)
        if self.rules.action is Action.LOG:
            notes["access_log_hint"] = bool(found.policy)
            counts.append(f"rbac.{self.prefix}{'logged' if found.policy else 'not_logged'}")
        else:
            counts.append(f"rbac.{self.prefix}{found.word}")
        if found.allowed:
            return Passed(notes=notes, counts=tuple(counts))
        return Refusal(403, DENIED, found.details, counts=tuple(counts))


def note(notes: dict[str, object], prefix: str, result: Result) -> None:
    """Keep a result as Envoy's dynamic metadata does."""
    notes[f"{prefix}_engine_result"] = result.word
    if result.policy:
        notes[f"{prefix}_effective_policy_id"] = result.policy


@dataclass(frozen=True, slots=True)
class Rbac:
    """The filter: a HeadFilter."""

    name: str
    settings: Settings
    clusters: tuple[str, ...] = ()

    @property
    def reads_connection(self) -> bool:
        """Whether who asks has a say."""
        return self.settings.reads_connection

    @property
    def reads_path(self) -> bool:
        """Whether the path that is asked for has a say."""
        return self.settings.reads_path

    def decide(self, asked: Asked) -> Verdict:
        """What becomes of a request, by the route's settings where it has some."""
        settings = self.settings if asked.override is None else asked.override
        verdict: Verdict = settings.decide(asked)
        return verdict
