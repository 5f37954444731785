"""A policy set as bit vectors, as ``bpf/include/authz.h`` reads them.

Each rule of a policy is spread out: its clauses' alternatives become conjunctions,
each of them a bit. A connection matches a policy if it satisfies any of its bits in
all four properties: identity, source, destination, port. What a property satisfies
is worked out here for each value that some rule names, and for all the others at
once; strings are compared here, once per set and identity.

Pure. What a set can't hold (``set_chunks`` chunks) is an error: half a set would
allow what it must not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from bpf.addresses import mapped
from bpf.layout import Chunk, ChunkFlag, PortRulesKey, RangeRulesKey, RuleIndex, Rules
from daemon.policies.vectors import port_table, range_table
from ztunnel_compat.identity import Identity
from ztunnel_compat.policy import Action, Match, Policy, Range
from ztunnel_compat.policy import Rule as PolicyRule
from ztunnel_compat.rbac import identity_matches

BYTES = RuleIndex.COUNT // 8


class TooLargeError(Exception):
    """A policy set has more rules than its chunks can hold."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One bit: all of these matches must hold."""

    policy: Policy
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class CompiledChunk:
    """A chunk's content, without its number.

    identities: conditions on the source's identity → the rules that have them.
    The tables are None where no rule looks at the property.
    """

    record: Chunk
    free: int
    identities: Mapping[tuple[Match, ...], int] | None
    sources: Mapping[Range, int] | None
    destinations: Mapping[Range, int] | None
    ports: Mapping[int, int] | None


@dataclass(frozen=True, slots=True)
class CompiledSet:
    """A policy set's content; rules: in order, all chunks'."""

    rules: tuple[Rule, ...]
    chunks: tuple[CompiledChunk, ...]

    def policy(self, chunk: int, rule: int) -> str:
        """The key of the policy that a rule is of, or an empty text."""
        index = chunk * RuleIndex.COUNT + rule
        known = rule < RuleIndex.COUNT and index < len(self.rules)
        return self.rules[index].policy.key if known else ""


def compile_set(policies: Sequence[Policy], most_chunks: int) -> CompiledSet:
    """Compile a set; raises TooLargeError. No chunks: it lets everything pass."""
    most = most_chunks * RuleIndex.COUNT
    if sum(bits(policy) for policy in policies) > most:
        raise TooLargeError(
            f"{sum(bits(p) for p in policies)} rules, more than the {most} that a set may have"
        )
    rules = tuple(rule for policy in policies for rule in rules_of(policy))
    flags = set_flags(policies)
    if not rules and not flags & (ChunkFlag.ALLOWS | ChunkFlag.DRY_ALLOWS):
        return CompiledSet((), ())
    pieces = [
        rules[start : start + RuleIndex.COUNT]
        for start in range(0, len(rules) or 1, RuleIndex.COUNT)
    ]
    chunks = tuple(
        compile_chunk(piece, flags | (ChunkFlag.MORE if number < len(pieces) else 0))
        for number, piece in enumerate(pieces, start=1)
    )
    return CompiledSet(rules, chunks)


def bits(policy: Policy) -> int:
    """How many bits a policy takes."""
    return sum(prod(len(alternatives) for alternatives in spread(r)) for r in policy.rules)


def rules_of(policy: Policy) -> Iterator[Rule]:
    """A policy's bits, in the order of its rules."""
    for rule in policy.rules:
        for matches in product(*spread(rule)):
            yield Rule(policy, matches)


def spread(rule: PolicyRule) -> list[tuple[Match, ...]]:
    """The alternatives of each clause that isn't always true; none: never true."""
    return [tuple(match for match in clause if not match.empty) for clause in rule if clause]


def set_flags(policies: Sequence[Policy]) -> int:
    """What kinds of policies a set has."""
    flags = 0
    for policy in policies:
        allows = policy.action is Action.ALLOW
        if policy.dry_run:
            flags |= ChunkFlag.DRY | (ChunkFlag.DRY_ALLOWS if allows else 0)
        elif allows:
            flags |= ChunkFlag.ALLOWS
    return flags


def compile_chunk(rules: Sequence[Rule], flags: int) -> CompiledChunk:
    """Compile at most 1,024 rules."""
    used = (1 << len(rules)) - 1
    identities, free = identity_groups(rules)
    sources = range_table(
        [[(m.source_ips, m.not_source_ips) for m in rule.matches] for rule in rules], used
    )
    destinations = range_table(
        [[(m.destination_ips, m.not_destination_ips) for m in rule.matches] for rule in rules],
        used,
    )
    ports, other_ports = port_table(
        [
            [(m.destination_ports, m.not_destination_ports) for m in rule.matches]
            for rule in rules
        ],
        used,
    )
    flags |= ChunkFlag.IDENTITIES if identities is not None else 0
    flags |= ChunkFlag.SOURCES if sources is not None else 0
    flags |= ChunkFlag.DESTINATIONS if destinations is not None else 0
    flags |= ChunkFlag.PORTS if ports is not None else 0
    record = Chunk(
        used=vector(used),
        deny=vector(kind(rules, Action.DENY, dry_run=False)),
        allow=vector(kind(rules, Action.ALLOW, dry_run=False)),
        dry_deny=vector(kind(rules, Action.DENY, dry_run=True)),
        dry_allow=vector(kind(rules, Action.ALLOW, dry_run=True)),
        other_ports=vector(other_ports),
        flags=flags,
        words=max(1, -(-len(rules) // 64)),
    )
    return CompiledChunk(record, free, identities, sources, destinations, ports)


def kind(rules: Sequence[Rule], action: Action, *, dry_run: bool) -> int:
    """The bits of rules of this kind of policy."""
    return sum(
        1 << number
        for number, rule in enumerate(rules)
        if rule.policy.action is action and rule.policy.dry_run is dry_run
    )


def identity_groups(
    rules: Sequence[Rule],
) -> tuple[Mapping[tuple[Match, ...], int] | None, int]:
    """Rules by their conditions on the identity, and those that have none."""
    groups: dict[tuple[Match, ...], int] = {}
    for number, rule in enumerate(rules):
        conditions = tuple(
            identity_part for match in rule.matches if not (identity_part := part(match)).empty
        )
        groups[conditions] = groups.get(conditions, 0) | 1 << number
    free = groups.pop((), 0)
    return groups or None, free


def part(match: Match) -> Match:
    """The conditions of a match on the source's identity."""
    return Match(
        namespaces=match.namespaces,
        not_namespaces=match.not_namespaces,
        principals=match.principals,
        not_principals=match.not_principals,
        service_accounts=match.service_accounts,
        not_service_accounts=match.not_service_accounts,
    )


def identity_rules(chunk: CompiledChunk, identity: Identity | None) -> Rules:
    """The rules that a source of this identity satisfies."""
    bits_held = chunk.free
    for conditions, rules in (chunk.identities or {}).items():
        if all(identity_matches(match, identity) for match in conditions):
            bits_held |= rules
    return Rules(vector(bits_held))


def range_entries(
    table: Mapping[Range, int] | None, number: int
) -> Iterator[tuple[RangeRulesKey, Rules]]:
    """A table of ranges as the map holds it; number: the chunk's."""
    for one, rules in (table or {}).items():
        inside = 8 * (16 - len(one.address)) + one.length
        yield RangeRulesKey(32 + inside, number, mapped(one.address)), Rules(vector(rules))


def port_entries(
    table: Mapping[int, int] | None, number: int
) -> Iterator[tuple[PortRulesKey, Rules]]:
    """A table of ports as the map holds it; number: the chunk's."""
    for port, rules in (table or {}).items():
        yield PortRulesKey(number, port), Rules(vector(rules))


def vector(rules: int) -> bytes:
    """Bits as the kernel holds them."""
    return rules.to_bytes(BYTES, "little")
