"""AuthorizationPolicies as istiod sends them to who enforces them at L4.

A rule's clauses must all match; of a clause's matches one; of a match each field.
What only HTTP knows is left out: an ALLOW rule goes with it, so that nobody is
let in who wasn't meant; a DENY rule loses it, so that it denies more.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.empty_pb2 import Empty

from deploy.standalone.control.istioapi import (
    ROOT_NAMESPACE,
    Action,
    Attributes,
    AuthorizationPolicy,
    Condition,
    PolicyRule,
    positive,
)
from deploy.standalone.control.problems import Problem
from proto import authorization_pb2 as pb

L4_SOURCES = ("principals", "namespaces", "serviceAccounts", "ipBlocks")
L4_OPERATIONS = ("ports",)
#: Attributes of ``when``, and the fields of a source or operation that mean the same.
L4_CONDITIONS = {
    "source.ip": "ipBlocks",
    "source.namespace": "namespaces",
    "source.principal": "principals",
    "source.serviceAccount": "serviceAccounts",
    "destination.ip": "destinationIps",
    "destination.port": "ports",
}
STRINGS = {"principals": "principals", "namespaces": "namespaces"}
RANGES = {"ipBlocks": "source_ips", "destinationIps": "destination_ips"}
AT_WAYPOINTS = "attach the policy to a waypoint by targetRefs to match HTTP"


@dataclass(frozen=True, slots=True)
class Translated:
    """What is sent of a policy, or None; and what to say about it."""

    authorization: pb.Authorization | None
    problems: tuple[Problem, ...] = ()


def policy_name(policy: AuthorizationPolicy) -> str:
    """The policy's name in the stream, and in the workloads that it selects."""
    return f"{policy.namespace}/{policy.name}"


def scope_of(policy: AuthorizationPolicy) -> pb.Scope.ValueType:
    """Whom a policy holds for."""
    if policy.selector:
        return pb.WORKLOAD_SELECTOR
    return pb.GLOBAL if policy.namespace == ROOT_NAMESPACE else pb.NAMESPACE


def is_sent(policy: AuthorizationPolicy) -> bool:
    """Whether a policy is for L4: those that are attached are waypoints' affair."""
    return not policy.targets and policy.action in {Action.ALLOW, Action.DENY}


def unsent(policy: AuthorizationPolicy) -> Problem | None:
    """Why a policy that isn't sent is in force nowhere, or None."""
    if policy.targets:
        return None
    return policy.origin.error(
        "spec.action",
        f"not in force: {policy.action} is not known at L4; use ALLOW or DENY, or attach "
        "the policy to a waypoint by targetRefs",
    )


def translate(policy: AuthorizationPolicy) -> Translated:
    """The policy as it is sent, if it is, with notices."""
    if not is_sent(policy):
        refusal = unsent(policy)
        return Translated(None, () if refusal is None else (refusal,))
    problems = []
    message = pb.Authorization(
        name=policy.name,
        namespace=policy.namespace,
        scope=scope_of(policy),
        action=pb.DENY if policy.action is Action.DENY else pb.ALLOW,
        dry_run=policy.dry_run,
    )
    for index, rule in enumerate(policy.rules):
        rest = http_parts(rule)
        if not rest or policy.action is Action.DENY:
            message.rules.append(translate_rule(rule, policy.namespace))
        if rest:
            problems.append(
                http_problem(policy, index, rest, effective=can_match(message.rules))
            )
    if policy.action is Action.DENY and not policy.rules:
        problems.append(
            policy.origin.notice("spec.rules", "missing: this policy denies nobody")
        )
    return Translated(message, tuple(problems))


def http_problem(
    policy: AuthorizationPolicy, index: int, rest: list[str], *, effective: bool
) -> Problem:
    """What becomes of a rule that names what only HTTP knows."""
    path, names = f"spec.rules[{index}]", ", ".join(rest)
    if policy.action is Action.ALLOW:
        return policy.origin.error(
            path, f"not in force: {names} can't be matched at L4; {AT_WAYPOINTS}"
        )
    if not effective:
        return policy.origin.error(
            path, f"denies nobody: {names} can't be matched at L4; {AT_WAYPOINTS}"
        )
    return policy.origin.notice(
        path,
        f"denies more than it says: {names} can't be matched at L4 and is left out; "
        f"{AT_WAYPOINTS}",
    )


def can_match(rules: Iterable[pb.Rule]) -> bool:
    """Whether the last rule can match: a match without a field never does."""
    last = list(rules)[-1:]
    return any(
        all(any(match.ByteSize() for match in clause.matches) for clause in rule.clauses)
        for rule in last
    )


def http_parts(rule: PolicyRule) -> list[str]:
    """What of a rule only HTTP knows, in Istio's words, each once."""
    found = [
        name
        for parts, known in ((rule.sources, L4_SOURCES), (rule.operations, L4_OPERATIONS))
        for attributes in parts
        for name in attributes
        if positive(name) not in known
    ]
    found += [each.key for each in rule.conditions if each.key not in L4_CONDITIONS]
    return list(dict.fromkeys(found))


def translate_rule(rule: PolicyRule, namespace: str) -> pb.Rule:
    """One rule; without any clause it matches everything."""
    conditions = tuple((attributes_of(condition),) for condition in rule.conditions)
    return pb.Rule(
        clauses=[
            pb.Clause(matches=[match_of(part, namespace) for part in parts])
            for parts in (rule.operations, rule.sources, *conditions)
            if parts
        ]
    )


def attributes_of(condition: Condition) -> Attributes:
    """A condition in the words of sources and operations; empty for HTTP's."""
    field = L4_CONDITIONS.get(condition.key)
    if field is None:
        return {}
    negative = f"not{field[0].upper()}{field[1:]}"
    return {field: condition.values, negative: condition.not_values}


def match_of(attributes: Attributes, namespace: str) -> pb.Match:
    """The fields that L4 knows; all of them must match."""
    match = pb.Match()
    for field, values in attributes.items():
        name, prefix = positive(field), "" if positive(field) == field else "not_"
        if name in STRINGS:
            getattr(match, prefix + STRINGS[name]).extend(map(string_match, values))
        elif name in RANGES:
            getattr(match, prefix + RANGES[name]).extend(map(address_range, values))
        elif name == "serviceAccounts":
            accounts = [account_match(value, namespace) for value in values]
            getattr(match, f"{prefix}service_accounts").extend(accounts)
        elif name == "ports":
            getattr(match, f"{prefix}destination_ports").extend(map(int, values))
    return match


def string_match(value: str) -> pb.StringMatch:
    """Istio's wildcards: * alone, in front, or at the end."""
    if value == "*":
        return pb.StringMatch(presence=Empty())
    if value.startswith("*"):
        return pb.StringMatch(suffix=value.removeprefix("*"))
    if value.endswith("*"):
        return pb.StringMatch(prefix=value.removesuffix("*"))
    return pb.StringMatch(exact=value)


def address_range(value: str) -> pb.Address:
    """An address, or a range of them, as it is written."""
    interface = ipaddress.ip_interface(value)
    return pb.Address(address=interface.packed, length=interface.network.prefixlen)


def account_match(value: str, namespace: str) -> pb.ServiceAccountMatch:
    """A service account; of the policy's namespace when none is named."""
    first, slash, second = value.partition("/")
    if not slash:
        return pb.ServiceAccountMatch(namespace=namespace, serviceAccount=first)
    return pb.ServiceAccountMatch(namespace=first, serviceAccount=second)
