"""Which endpoint gets the next request: priority, locality, then host; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from time import monotonic
from typing import Generic

from waypoint.balancing.build import balancer, hashes
from waypoint.balancing.draws import split
from waypoint.balancing.host import Balancer, H
from waypoint.balancing.policies import LeastRequestPolicy, Panic, Policy
from waypoint.balancing.priorities import Health, locality_share, priority_loads
from waypoint.balancing.slices import Slices, at_once
from waypoint.balancing.slow_start import Ramp
from ztunnel_compat.model import Locality

#: How often a policy is asked again for a host that wasn't tried (Istio's).
ATTEMPTS = 5
NOWHERE = Locality()
#: Istio's for whoever says nothing.
LEAST_REQUEST = LeastRequestPolicy()
PANIC = Panic()


@dataclass(frozen=True, slots=True)
class Candidate(Generic[H]):
    """A host that may be chosen, and what decides whether it is; priority: from 0 up."""

    host: H
    priority: int = 0
    locality: Locality = NOWHERE
    healthy: bool = True


@dataclass(frozen=True, slots=True)
class Rules:
    """How a cluster balances.

    localities: their weights, None: localities don't count; now: the clock of slow
    start; start, from [0, 1): where turns begin.
    """

    policy: Policy = LEAST_REQUEST
    panic: Panic = PANIC
    localities: Mapping[Locality, int] | None = field(default=None, hash=False)
    now: Callable[[], float] = monotonic
    start: float = 0.0

    @property
    def ramp(self) -> Ramp:
        """How new hosts get their weight."""
        return Ramp(getattr(self.policy, "slow_start", None), self.now)


class Balance(Generic[H]):
    """Groups of hosts, each with its balancer, and running totals of their shares.

    endpoints: everyone who may be chosen now.
    """

    __slots__ = ("balancers", "bounds", "endpoints", "hashed", "only")

    def __init__(
        self,
        groups: Sequence[tuple[float, Balancer[H]]],
        endpoints: tuple[H, ...],
        *,
        hashed: bool = False,
    ) -> None:
        self.balancers = [group for _, group in groups]
        #: The one group, where there is one.
        self.only = self.balancers[0] if len(groups) == 1 else None
        self.bounds = list(accumulate(share for share, _ in groups))
        self.endpoints = endpoints
        self.hashed = hashed

    def pick(
        self,
        drawn: float,
        tried: Collection[object] = (),
        hash_key: int | None = None,
        attempts: int = ATTEMPTS,
    ) -> H | None:
        """A host that wasn't tried; None: there is none.

        drawn: a random number from [0, 1). The policy is asked so many more times;
        then any host that wasn't tried will do.
        """
        if not self.balancers:
            return None
        group = self.balancers[0]
        if len(self.balancers) > 1:
            if self.hashed and hash_key is not None:
                index, _ = split(hash_key % 100 / 100, self.bounds)
            else:
                index, drawn = split(drawn, self.bounds)
            group = self.balancers[index]
        host = group.pick(drawn, hash_key)
        if not tried or host not in tried:
            return host
        for attempt in range(1, attempts + 1):
            host = group.pick(drawn, hash_key, attempt)
            if host not in tried:
                return host
        rest = [host for host in self.endpoints if host not in tried]
        return rest[int(drawn * len(rest))] if rest else None


def balanced(candidates: Sequence[Candidate[H]], rules: Rules) -> Balance[H]:
    """Put a balance together at once; see balancing."""
    return at_once(balancing(candidates, rules))


def balancing(candidates: Sequence[Candidate[H]], rules: Rules) -> Slices[Balance[H]]:
    """Put a balance together; priorities must have no gaps."""
    count = max((c.priority for c in candidates), default=-1) + 1
    levels: list[list[Candidate[H]]] = [[] for _ in range(count)]
    for candidate in candidates:
        levels[candidate.priority].append(candidate)
    loads = priority_loads([health_of(level) for level in levels], rules.panic.threshold)
    groups: list[tuple[float, Balancer[H]]] = []
    chosen: list[H] = []
    for level, load in zip(levels, loads, strict=True):
        if not load.share or (load.panic and rules.panic.fail):
            continue
        for part, shares in parts(level, rules, panic=load.panic):
            chosen += [host for host, _ in shares]
            made = yield from balancer(rules.policy, shares, rules.start, rules.ramp)
            groups.append((load.share * part, made))
    return Balance(groups, tuple(chosen), hashed=hashes(rules.policy))


def health_of(candidates: Sequence[Candidate[H]]) -> Health:
    """How many of them are healthy."""
    return Health(sum(candidate.healthy for candidate in candidates), len(candidates))


def parts(
    level: Sequence[Candidate[H]], rules: Rules, *, panic: bool
) -> list[tuple[float, list[tuple[H, float]]]]:
    """A priority's groups: what each counts within it, and hosts with their shares.

    Hashing has one group with localities' weights in the hosts' shares: a draw would
    tear sessions apart. In panic, localities count for nothing.
    """
    usable = [c for c in level if c.healthy or panic]
    if not usable:
        return []
    if rules.localities is None or panic:
        return [(1.0, [(c.host, float(c.host.weight)) for c in usable])]
    everyone: defaultdict[Locality, list[Candidate[H]]] = defaultdict(list)
    for candidate in level:
        everyone[candidate.locality].append(candidate)
    found: list[tuple[float, list[tuple[H, float]]]] = []
    for locality, members in everyone.items():
        weight = rules.localities.get(locality, 0)
        healthy = [c.host for c in members if c.healthy]
        if not weight or not healthy:
            continue
        total = sum(host.weight for host in healthy)
        shares = [(host, weight * host.weight / total) for host in healthy]
        found.append((locality_share(weight, health_of(members)), shares))
    if hashes(rules.policy) and found:
        return [(1.0, [pair for _, shares in found for pair in shares])]
    total_share = sum(share for share, _ in found)
    return [(share / total_share, shares) for share, shares in found]
