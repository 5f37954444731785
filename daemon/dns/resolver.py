"""A message in, what to do with it out.

Working an answer out takes five times as long as sending it (48 µs, 10 µs), and
pods ask the same again and again, so it is remembered until the mesh changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from daemon.dns.answers import Answers, Asker
from daemon.dns.messages import BADVERS, SIZES, Answer, Query, answer, parse, refusal, type_name
from ztunnel_compat.state import Changes

#: Plans that are remembered, and the longest message that one is remembered for:
#: together a few MiB at most. Options that differ each time, cookies say, make
#: every message one of its own.
MOST_PLANS: Final = 4096
LONGEST: Final = 512


@dataclass(frozen=True, slots=True)
class Local:
    """Answer it; limit: the most bytes of a datagram."""

    answer: Answer
    limit: int
    kind: str


@dataclass(frozen=True, slots=True)
class Forward:
    """Ask the cluster DNS."""

    query: Query
    kind: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Reply with this, or with nothing: it is no query."""

    reply: bytes | None


Plan = Local | Forward | Refuse


class Resolver:
    """Plans messages; hits: how many of them from memory.

    answering: whether the mesh is known, so that answers may come from it.
    """

    def __init__(self, answers: Answers, most: int = MOST_PLANS) -> None:
        self.answers = answers
        self.most = most
        self.answering = False
        self.hits = 0
        self.plans: dict[tuple[Asker, bytes], Local | Forward] = {}

    def changed(self, changes: Changes) -> None:
        """The mesh changed: forget what was worked out."""
        self.answers.changed(changes)
        self.plans.clear()

    def begin(self) -> None:
        """The mesh is known from now on."""
        self.answering = True
        self.plans.clear()

    def plan(self, wire: bytes, asker: Asker) -> Plan:
        """What to do with a message of a pod."""
        key = (asker, wire[2:])
        known = self.plans.get(key)
        if known is not None:
            self.hits += 1
            return known
        query = parse(wire)
        if not isinstance(query, Query):
            return Refuse(query)
        plan = self.decide(wire, query, asker)
        if not isinstance(plan, Refuse) and len(wire) <= LONGEST:
            if len(self.plans) >= self.most:
                del self.plans[next(iter(self.plans))]
            self.plans[key] = plan
        return plan

    def decide(self, wire: bytes, query: Query, asker: Asker) -> Plan:
        """What to do with a query."""
        kind = type_name(query.rdtype)
        size = SIZES.get(query.rdtype)
        if not self.answering or query.name is None or size is None or not query.internet:
            return Forward(query, kind)
        found = self.answers.find(query.name, size, asker)
        if found is None:
            return Forward(query, kind)
        if query.edns > 0:  # only version 0 exists (RFC 6891, 6.1.3)
            return Refuse(refusal(wire, BADVERS, query))
        return Local(answer(query, found), query.limit, kind)
