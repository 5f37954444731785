"""CUSTOM AuthorizationPolicies: requests that an authorization server is asked about.

Their rules are an RBAC filter's in the shadow: it notes which policy a request meets, and
only those are asked about that meet one. Where nobody can be asked, nobody is let in.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2 as pb
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC

from deploy.standalone.control.extensionapi import AuthzProvider
from deploy.standalone.control.istioapi import Action, AuthorizationPolicy
from deploy.standalone.control.translate.authorization import HTTP_RBAC
from deploy.standalone.control.translate.authzservers import config_of, nobody
from deploy.standalone.control.translate.frontends import HTTP, Frontend, speaks
from deploy.standalone.control.translate.held import Policies, find_held
from deploy.standalone.control.translate.permissions import never, policy_of
from deploy.standalone.control.translate.sight import PODS, Found, Sight, http_filter
from deploy.standalone.control.world import Name

EXT_AUTHZ = "envoy.filters.http.ext_authz"
#: Istio's words: where the shadow filter notes the policy, and how that is named.
NOTED = "istio_ext_authz_"
POLICY = "istio-ext-authz"


def find_custom(sight: Sight) -> Found:
    """The filters that ask, for each HTTP port that CUSTOM policies are attached to.

    What is attached to a Gateway holds for its workloads' own addresses, too.
    """
    attached = {
        name: policy
        for name, policy in sorted(sight.world.policies.items())
        if counts(policy, sight)
    }
    providers = {name: server_of(policy, sight) for name, policy in attached.items()}
    held = find_held(attached.values(), sight)
    found: Found = defaultdict(dict)
    for key, policies in held.policies.items():
        config = asking(policies, key, providers, sight)
        row = [shadow_filter(policies), http_filter(EXT_AUTHZ, config)]
        made = held.frontends.get(key)
        if made is None:
            found[key][PODS] = row
            continue
        for port in made.ports:
            if speaks(port, HTTP):
                found[key][port.port] = list(row)
            else:
                not_asked(policies, made, port.port, sight)
    return found


def counts(policy: AuthorizationPolicy, sight: Sight) -> bool:
    """Whether a policy has anybody asked; says why one doesn't that should."""
    if policy.action is not Action.CUSTOM or not policy.targets:
        return False
    if policy.dry_run:
        sight.problems.append(
            policy.origin.notice(
                "metadata.annotations", "without effect: CUSTOM policies can't be tried out"
            )
        )
    return not policy.dry_run


def server_of(policy: AuthorizationPolicy, sight: Sight) -> AuthzProvider | None:
    """The provider that a policy names; None, with an error, where there is none."""
    providers = sight.world.mesh.providers if sight.world.mesh else ()
    found = next((each for each in providers if each.name == policy.provider), None)
    if found is None:
        known = ", ".join(each.name for each in providers) or "none"
        sight.problems.append(
            policy.origin.error(
                "spec.provider.name",
                f"there is no extensionProvider {policy.provider} in MeshConfig (there: "
                f"{known}): what the policy matches is refused",
            )
        )
    return found


def not_asked(policies: Policies, frontend: Frontend, port: int, sight: Sight) -> None:
    """Say that nobody is asked about bytes."""
    sight.problems += [
        policy.origin.notice(
            "spec.targetRefs",
            f"without effect at port {port} of {frontend}, which isn't HTTP: only requests can "
            "be asked about",
        )
        for policy in policies
    ]


def asking(
    policies: Policies,
    key: Name,
    providers: dict[Name, AuthzProvider | None],
    sight: Sight,
) -> pb.ExtAuthz:
    """The filter that asks; of several providers none is, as with istiod."""
    names = sorted({policy.provider for policy in policies})
    first = policies[0]
    provider = providers[(first.namespace, first.name)]
    if len(names) > 1:
        sight.problems += [
            policy.origin.error(
                "spec.provider.name",
                f"{key[1]} has policies with {' and '.join(names)}: name one provider; until "
                "then what they match is refused",
            )
            for policy in policies
        ]
        provider = None
    config = nobody() if provider is None else config_of(provider, sight)
    enabled = config.filter_enabled_metadata
    enabled.filter = HTTP_RBAC
    enabled.path.add(key=f"{NOTED}shadow_effective_policy_id")
    enabled.value.string_match.prefix = f"{POLICY}-"
    return config


def shadow_filter(policies: Policies) -> Any:
    """The filter that notes which policy a request meets."""
    rules = rbac_pb2.RBAC(action=rbac_pb2.RBAC.DENY)
    for policy in policies:
        name = f"{POLICY}-{policy.provider}-ns[{policy.namespace}]-policy[{policy.name}]"
        for index, rule in enumerate(policy.rules):
            made = policy_of(rule, policy.namespace, streams=False, widens=True)
            if made is not None:
                rules.policies[f"{name}-rule[{index}]"].CopyFrom(made)
        if not policy.rules:
            rules.policies[f"{name}-rule[0]"].CopyFrom(never())
    return http_filter(HTTP_RBAC, RBAC(shadow_rules=rules, shadow_rules_stat_prefix=NOTED))
