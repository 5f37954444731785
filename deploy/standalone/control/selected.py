"""Which policies hold for a workload by its labels."""

from __future__ import annotations

from deploy.standalone.control.authentication import Authentications
from deploy.standalone.control.istioapi import ROOT_NAMESPACE
from deploy.standalone.control.objects import Labels
from deploy.standalone.control.translate.authentications import names_of
from deploy.standalone.control.translate.policies import is_sent, policy_name
from deploy.standalone.control.world import World


def policies_of(
    namespace: str, labels: Labels, world: World, authentications: Authentications
) -> tuple[str, ...]:
    """Names of the policies that select a workload, by name, then what became of
    PeerAuthentications.

    Those of its namespace and of the root namespace; what isn't sent isn't named.
    """
    return selecting(namespace, labels, world) + names_of(
        authentications.standing(namespace, labels)
    )


def selecting(namespace: str, labels: Labels, world: World) -> tuple[str, ...]:
    """Names of the AuthorizationPolicies that select a workload, by name."""
    if not world.policies:
        return ()
    places = {namespace, ROOT_NAMESPACE}
    return tuple(
        sorted(
            policy_name(policy)
            for place in places
            for policy in world.policy_selectors.selecting(place, labels)
            if is_sent(policy)
        )
    )
