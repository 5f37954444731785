"""Which DestinationRule holds for a service: a look in three namespaces, as istiod's.

First the waypoint's namespace, then the service's own, then the root namespace; the
first that has any decides. Rules of one namespace for one host are merged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.standalone.control.istioapi import ROOT_NAMESPACE
from deploy.standalone.control.objects import Key
from deploy.standalone.control.problems import Problem
from deploy.standalone.control.trafficapi import DestinationRule, Hashing, Subset, TrafficPolicy
from deploy.standalone.control.translate.frontends import (
    Frontend,
    Frontends,
    covers,
    specificity,
)
from deploy.standalone.control.world import Name, World

NOTHING = TrafficPolicy()


@dataclass(frozen=True, slots=True)
class Destination:
    """How a service is reached."""

    policy: TrafficPolicy
    subsets: Mapping[str, Subset]

    def at(self, port: int, subset: str = "") -> TrafficPolicy:
        """What holds for a port of the service, or of a subset of it."""
        own = self.subsets[subset].policy.over(self.policy) if subset else self.policy
        return own.at(port)

    def hashing(self, port: int, subset: str = "") -> Hashing | None:
        """What of a request decides where it goes, if anything does."""
        balancer = self.at(port, subset).balancer
        return balancer.hashing if balancer else None


@dataclass(frozen=True, slots=True)
class Destinations:
    """The services that DestinationRules say something of, by key."""

    by_key: Mapping[Name, Destination]
    problems: tuple[Problem, ...]


def find_destinations(world: World, frontends: Frontends) -> Destinations:
    """Look up what holds for each service, and which rules hold nowhere."""
    of_namespace: dict[str, list[DestinationRule]] = defaultdict(list)
    for rule in world.destination_rules:
        of_namespace[rule.namespace].append(rule)
    found: dict[Name, Destination] = {}
    problems: list[Problem] = []
    used: set[Key] = set()
    served: set[Key] = set()
    for frontend in frontends.by_key.values() if world.destination_rules else ():
        rules = rules_for(frontend, of_namespace)
        if not rules:
            continue
        used |= {rule.key for rule in rules}
        if frontend.waypoint:
            served |= {rule.key for rule in rules}
        found[frontend.key] = merged(rules, problems)
    for rule in world.destination_rules:
        if rule.key not in used:
            problems.append(rule.origin.notice("spec.host", unused(rule, frontends)))
        elif rule.key not in served:
            problems.append(
                rule.origin.notice(
                    "spec.host",
                    f"no waypoint serves {rule.host}: only routes that lead there from "
                    "elsewhere heed this",
                )
            )
    return Destinations(found, tuple(problems))


def rules_for(
    frontend: Frontend, of_namespace: Mapping[str, list[DestinationRule]]
) -> list[DestinationRule]:
    """The rules of the first namespace that has any, all for the most specific host."""
    asking = frontend.waypoint[0] if frontend.waypoint else frontend.namespace
    for namespace in dict.fromkeys((asking, frontend.namespace, ROOT_NAMESPACE)):
        rules = [
            rule
            for rule in of_namespace.get(namespace, ())
            if covers(rule.host, frontend.hostname)
            and (not rule.visible or asking in rule.visible)
        ]
        if rules:
            best = min((rule.host for rule in rules), key=specificity)
            return [rule for rule in rules if rule.host == best]
    return []


def merged(rules: list[DestinationRule], problems: list[Problem]) -> Destination:
    """One of several: istiod takes all subsets, and the first traffic policy."""
    policy, holder = NOTHING, rules[0]
    subsets: dict[str, Subset] = {}
    for rule in rules:
        if rule.policy != NOTHING:
            if policy == NOTHING:
                policy, holder = rule.policy, rule
            else:
                problems.append(
                    rule.origin.error(
                        "spec.trafficPolicy",
                        f"DestinationRule {holder.namespace}/{holder.name} has one for "
                        f"{rule.host} already, which counts: write them into one",
                    )
                )
        for index, subset in enumerate(rule.subsets):
            if subset.name in subsets:
                problems.append(
                    rule.origin.error(
                        f"spec.subsets[{index}].name",
                        f"{rule.host} has a subset {subset.name} already, which counts: "
                        "give it another name",
                    )
                )
            subsets.setdefault(subset.name, subset)
    return Destination(policy, subsets)


def unused(rule: DestinationRule, frontends: Frontends) -> str:
    """Why a rule holds nowhere."""
    if not frontends.matching(rule.host):
        return f"without effect: there is no service {rule.host}{full_name(rule.host)}"
    return (
        f"without effect: another rule goes before, or {rule.namespace} is neither the "
        f"namespace of {rule.host}, nor of its waypoint, nor {ROOT_NAMESPACE}"
    )


def full_name(host: str) -> str:
    """A hint for names that Istio takes as they are."""
    if host.count(".") == 1 or host.endswith(".svc"):
        return "; write the full name, <name>.<namespace>.svc.cluster.local"
    return ""
