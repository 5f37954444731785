"""Tables of workloads, of the policies that hold for them, and of what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from deploy.standalone.control.authentication import Standing
from deploy.standalone.control.istioapi import (
    ROOT_NAMESPACE,
    AuthorizationPolicy,
    PeerAuthentication,
)
from deploy.standalone.control.objects import Locality
from deploy.standalone.control.outsides import OutsideView
from deploy.standalone.control.tokenapi import RequestAuthentication
from deploy.standalone.control.translate.policies import policy_name, scope_of
from deploy.standalone.control.translate.workloads import PodView
from deploy.standalone.control.view import View
from proto import authorization_pb2 as pb

Row = list[str]
NOTHING = "-"
#: Names in a cell; of more, how many there are.
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload as the tables have it. protected: its node checks who connects."""

    namespace: str
    name: str
    kind: str
    addresses: tuple[str, ...]
    node: str
    account: str
    locality: Locality
    services: int
    policies: tuple[str, ...]
    standing: Standing
    protected: bool


def workloads(view: View) -> Iterator[Workload]:
    """Every workload: pods that should run, and those that no pod is."""
    for _, each in sorted(view.pods.items()):
        yield of_pod(each, view)
    for _, outside in sorted(view.outsides.items()):
        yield of_outside(outside, view)


def of_pod(each: PodView, view: View) -> Workload:
    """A pod."""
    pod = each.pod
    status = view.statuses.get(pod.full_name)
    return Workload(
        namespace=pod.namespace,
        name=pod.name,
        kind="Pod",
        addresses=tuple(map(str, status.ips)) if status else (),
        node=pod.node,
        account=pod.template.service_account,
        locality=each.locality,
        services=len(each.services) + len(each.hosts),
        policies=each.policies,
        standing=view.authentications.standing(pod.namespace, pod.template.labels),
        protected=each.enrolled,
    )


def of_outside(each: OutsideView, view: View) -> Workload:
    """A WorkloadEntry, or an endpoint of a ServiceEntry."""
    outside = each.outside
    return Workload(
        namespace=each.namespace,
        name=f"{each.name}/{outside.address}" if each.from_entry else each.name,
        kind="ServiceEntry" if each.from_entry else "WorkloadEntry",
        addresses=tuple(map(str, each.ips)),
        node=each.node if each.served else "",
        account=outside.service_account or "default",
        locality=outside.locality,
        services=len(each.services) + len(each.hosts),
        policies=each.policies,
        standing=view.authentications.standing(each.namespace, each.labels),
        protected=not each.from_entry,
    )


def workload_rows(view: View) -> list[Row]:
    """A row per workload."""
    return [
        [
            each.namespace,
            each.name,
            each.kind,
            ",".join(each.addresses) or NOTHING,
            each.node or NOTHING,
            each.account,
            "/".join(filter(None, (place.region, place.zone, place.subzone))) or NOTHING,
            str(each.services),
            few(each.policies),
        ]
        for each in workloads(view)
        for place in (each.locality,)
    ]


def policy_rows(view: View) -> list[Row]:
    """A row per AuthorizationPolicy, then PeerAuthentication, RequestAuthentication."""
    everything = list(workloads(view))
    return (
        [
            policy_row(policy, view, everything)
            for _, policy in sorted(view.world.policies.items())
        ]
        + [
            authentication_row(each, view, everything)
            for _, each in sorted(view.world.authentications.items())
        ]
        + [request_row(each) for each in view.world.request_authentications]
    )


def policy_row(policy: AuthorizationPolicy, view: View, everything: list[Workload]) -> Row:
    """One policy. STATE: whether nodes or waypoints enforce it, or only count what it
    would do.
    """
    name = (policy.namespace, policy.name)
    sent = view.policies[name].authorization
    held = [each.name for each in everything if sent is not None and holds(policy, each)]
    rules = len(sent.rules) if sent is not None else 0
    attached = view.held.get(name, ())
    if attached:
        held, rules = list(attached), len(policy.rules)
    in_force = sent is not None or bool(attached)
    state = "not in force" if not in_force else "dry run" if policy.dry_run else "enforced"
    return [
        policy.namespace,
        policy.name,
        policy.key.kind,
        policy.action,
        ",".join(map(str, policy.targets)) or pb.Scope.Name(scope_of(policy)),
        f"{rules}/{len(policy.rules)}",
        few(held),
        state,
    ]


def authentication_row(each: PeerAuthentication, view: View, everything: list[Workload]) -> Row:
    """One PeerAuthentication. WORKLOADS: those whose mode, or ports, it is."""
    said = [each.mode, *(f"{port}={mode}" for port, mode in each.ports.items())]
    scope = pb.GLOBAL if each.namespace == ROOT_NAMESPACE else pb.NAMESPACE
    held = [
        workload.name
        for workload in everything
        if workload.protected
        and (
            workload.standing.said_by is each
            or (workload.standing.own is each and workload.standing.exceptions)
        )
    ]
    return [
        each.namespace,
        each.name,
        each.key.kind,
        ",".join(said),
        pb.Scope.Name(pb.WORKLOAD_SELECTOR if each.selector else scope),
        NOTHING,
        few(held),
        "enforced" if view.authentications.in_force(each) else "not in force",
    ]


def request_row(each: RequestAuthentication) -> Row:
    """One RequestAuthentication. Waypoints enforce it, not workloads."""
    return [
        each.namespace,
        each.name,
        each.key.kind,
        ",".join(rule.issuer for rule in each.rules) or NOTHING,
        "/".join(map(str, each.targets)) or NOTHING,
        str(len(each.rules)),
        NOTHING,
        "enforced" if each.targets else "not in force",
    ]


def holds(policy: AuthorizationPolicy, workload: Workload) -> bool:
    """Whether a policy that is sent holds for a workload."""
    if not workload.protected:
        return False
    scope = scope_of(policy)
    if scope == pb.WORKLOAD_SELECTOR:
        return policy_name(policy) in workload.policies
    return scope == pb.GLOBAL or policy.namespace == workload.namespace


def few(names: Iterable[str]) -> str:
    """Some names in one cell."""
    found = list(names)
    shown = ",".join(found[:SHOWN]) or NOTHING
    return shown if len(found) <= SHOWN else f"{shown},+{len(found) - SHOWN}"


def problem_rows(view: View) -> list[Row]:
    """A row for each thing that is wrong, errors first."""
    ordered = sorted(view.problems, key=lambda problem: problem.level != "error")
    return [
        [each.level, f"{each.file}:{each.line}", each.field or NOTHING, each.message]
        for each in ordered
    ]
