"""AuthorizationPolicies that targetRefs attach: which hold for which service."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from deploy.standalone.control.istioapi import AuthorizationPolicy
from deploy.standalone.control.translate.frontends import Frontend
from deploy.standalone.control.translate.sight import Sight
from deploy.standalone.control.translate.targets import find_targeted
from deploy.standalone.control.world import Name

Policies = list[AuthorizationPolicy]


class Held(NamedTuple):
    """By a service's key, the policies that hold for it; and the service, unless it is a
    waypoint's own, which stands for workloads' addresses.
    """

    policies: dict[Name, Policies]
    frontends: dict[Name, Frontend]


def find_held(policies: Iterable[AuthorizationPolicy], sight: Sight) -> Held:
    """Where each of some policies holds, which is told to the sight, too."""
    held = Held(defaultdict(list), {})
    for policy in policies:
        name = (policy.namespace, policy.name)
        targeted = find_targeted(policy.targets, policy.namespace, sight)
        for frontend in targeted.frontends:
            if frontend.waypoint is not None:
                held.policies[frontend.key].append(policy)
                held.frontends[frontend.key] = frontend
                sight.held[name].append(str(frontend))
        for gateway, key in targeted.gateways.items():
            held.policies[key].append(policy)
            sight.held[name].append(f"pods of {'/'.join(gateway)}")
    return held
