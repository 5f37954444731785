"""AuthorizationPolicies that are attached by targetRefs, as RBAC filters of waypoints.

AUDIT goes first, then DENY, then ALLOW; policies that are tried out become shadow rules.
Policies without targetRefs are the nodes' affair (policies.py): no waypoint asks them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_pb
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_pb

from deploy.standalone.control.istioapi import Action, AuthorizationPolicy
from deploy.standalone.control.translate.frontends import HTTP, STREAMS, Frontend, speaks
from deploy.standalone.control.translate.held import Policies, find_held
from deploy.standalone.control.translate.permissions import http_parts, never, policy_of
from deploy.standalone.control.translate.sight import PODS, Found, Sight, http_filter

HTTP_RBAC = "envoy.filters.http.rbac"
NETWORK_RBAC = "envoy.filters.network.rbac"
#: In the order in which they are asked.
ACTIONS = {
    Action.AUDIT: rbac_pb2.RBAC.LOG,
    Action.DENY: rbac_pb2.RBAC.DENY,
    Action.ALLOW: rbac_pb2.RBAC.ALLOW,
}
SHADOW_PREFIXES = {
    Action.ALLOW: "istio_dry_run_allow_",
    Action.DENY: "istio_dry_run_deny_",
    Action.AUDIT: "",
}


def find_authorization(sight: Sight) -> Found:
    """The filters of each service's HTTP ports; those for bytes go into the sight."""
    attached = [
        policy
        for _, policy in sorted(sight.world.policies.items())
        if policy.targets and policy.action in ACTIONS
    ]
    for policy in attached:
        check_rules(policy, sight)
    held = find_held(attached, sight)
    found: Found = defaultdict(dict)
    for key, policies in held.policies.items():
        made = held.frontends.get(key)
        if made is None:
            found[key][PODS] = http_filters(policies)
            sight.network[key][PODS] = network_filters(policies)
            continue
        for port in made.ports:
            if speaks(port, HTTP):
                found[key][port.port] = http_filters(policies)
            if speaks(port, STREAMS):
                sight.network[key][port.port] = network_filters(policies)
                if not speaks(port, HTTP):
                    check_streams(policies, made, port.port, sight)
    return found


def check_rules(policy: AuthorizationPolicy, sight: Sight) -> None:
    """Say where a policy does nothing."""
    if policy.action is Action.DENY and not policy.rules:
        sight.problems.append(
            policy.origin.notice("spec.rules", "missing: this policy denies nobody")
        )


def check_streams(policies: Policies, frontend: Frontend, port: int, sight: Sight) -> None:
    """Say what becomes of rules about requests at a port where there are none."""
    for policy in policies:
        for index, rule in enumerate(policy.rules):
            rest = ", ".join(http_parts(rule))
            if not rest:
                continue
            allows = policy.action is Action.ALLOW
            effect = "lets nobody in" if allows else "matches more than it says"
            sight.problems.append(
                policy.origin.notice(
                    f"spec.rules[{index}]",
                    f"{effect} at port {port} of {frontend}, which isn't HTTP: {rest} can't be "
                    "matched there",
                )
            )


def http_filters(policies: Policies) -> list[Any]:
    """The filters for requests."""
    return [
        http_filter(
            HTTP_RBAC,
            http_pb.RBAC(
                rules=enforced,
                shadow_rules=shadow,
                shadow_rules_stat_prefix=SHADOW_PREFIXES[action] if shadow else "",
            ),
        )
        for action, enforced, shadow in rule_sets(policies, streams=False)
    ]


def network_filters(policies: Policies) -> list[Any]:
    """The filters for bytes."""
    made = []
    for action, enforced, shadow in rule_sets(policies, streams=True):
        config = network_pb.RBAC(
            rules=enforced,
            shadow_rules=shadow,
            shadow_rules_stat_prefix=SHADOW_PREFIXES[action] if shadow else "",
            stat_prefix="tcp.",
        )
        one = Filter(name=NETWORK_RBAC)
        one.typed_config.Pack(config, deterministic=True)
        made.append(one)
    return made


def rule_sets(
    policies: Policies, *, streams: bool
) -> Iterable[tuple[Action, Any | None, Any | None]]:
    """By action, what is enforced and what is tried out, as far as there is any."""
    for action in ACTIONS:
        of_action = [policy for policy in policies if policy.action is action]
        if not of_action:
            continue
        enforced = [policy for policy in of_action if not policy.dry_run]
        shadow = [policy for policy in of_action if policy.dry_run]
        yield (
            action,
            rules_of(action, enforced, streams=streams) if enforced else None,
            rules_of(action, shadow, streams=streams) if shadow else None,
        )


def rules_of(action: Action, policies: Policies, *, streams: bool) -> Any:
    """Policies of one action."""
    made = rbac_pb2.RBAC(action=ACTIONS[action])
    for policy in policies:
        for index, rule in enumerate(policy.rules):
            one = policy_of(
                rule, policy.namespace, streams=streams, widens=action is not Action.ALLOW
            )
            if one is not None:
                made.policies[rule_name(policy, index)].CopyFrom(one)
        if not policy.rules:
            made.policies[rule_name(policy, 0)].CopyFrom(never())
    return made


def rule_name(policy: AuthorizationPolicy, index: int) -> str:
    """A rule as logs and metadata name it."""
    return f"ns[{policy.namespace}]-policy[{policy.name}]-rule[{index}]"
