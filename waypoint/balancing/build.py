"""From hosts and a policy to a balancer."""

from __future__ import annotations

from collections.abc import Sequence

from waypoint.balancing.host import Balancer, H
from waypoint.balancing.least_request import LeastRequest
from waypoint.balancing.maglev import maglev
from waypoint.balancing.policies import (
    LeastRequestPolicy,
    MaglevPolicy,
    Policy,
    RandomPolicy,
    RingHashPolicy,
    RoundRobinPolicy,
)
from waypoint.balancing.random_choice import RandomChoice
from waypoint.balancing.ring_hash import ring_hash
from waypoint.balancing.round_robin import RoundRobin
from waypoint.balancing.slices import Slices
from waypoint.balancing.slow_start import Ramp


def hashes(policy: Policy) -> bool:
    """Whether a policy goes by requests' hashes."""
    return isinstance(policy, RingHashPolicy | MaglevPolicy)


def balancer(
    policy: Policy, shares: Sequence[tuple[H, float]], start: float, ramp: Ramp
) -> Slices[Balancer[H]]:
    """A balancer over some hosts, at least one.

    shares: what each counts among all; only hashing goes by it, the others by the
    hosts' own weights. start, from [0, 1): where turns begin.
    """
    hosts = [host for host, _ in shares]
    match policy:
        case RoundRobinPolicy():
            return RoundRobin(hosts, start, ramp)
        case LeastRequestPolicy():
            return LeastRequest(hosts, start, policy, ramp)
        case RandomPolicy():
            return RandomChoice(hosts)
        case RingHashPolicy():
            return (yield from ring_hash(shares, policy))
        case MaglevPolicy():
            return (yield from maglev(shares, policy))
