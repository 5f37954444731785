"""Objects and statuses to everything that is served: one pure step.

Each piece is remembered with its inputs (memo.py), so that a step costs what
changed, and a look at the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from deploy.standalone.control.allocate import allocate
from deploy.standalone.control.authentication import Authentications, age_order
from deploy.standalone.control.catalog import Catalog
from deploy.standalone.control.enrolled import Enrolled
from deploy.standalone.control.hosts import Hosts, allocate_hosts, find_hosts
from deploy.standalone.control.membership import (
    check_gateway,
    is_enrolled,
    waypoint_of_entry,
    waypoint_of_pod,
    waypoint_of_service,
)
from deploy.standalone.control.memo import Memo, Same
from deploy.standalone.control.objects import Labels
from deploy.standalone.control.outsides import (
    Names,
    OutsideView,
    hosts_selecting,
    look_outside,
    wanted_names,
)
from deploy.standalone.control.pods import DesiredPod, PodName
from deploy.standalone.control.problems import Problem
from deploy.standalone.control.rollout import Rollout, Statuses, is_ready, roll_out
from deploy.standalone.control.schedule import nodes_of
from deploy.standalone.control.selected import policies_of
from deploy.standalone.control.served import make_contents, snapshot_of
from deploy.standalone.control.snapshot import Endpoint, Snapshot
from deploy.standalone.control.translate.attachments import attach
from deploy.standalone.control.translate.destinations import find_destinations
from deploy.standalone.control.translate.filters import find_filters
from deploy.standalone.control.translate.frontends import find_frontends
from deploy.standalone.control.translate.policies import is_sent, policy_name, translate
from deploy.standalone.control.translate.ports import check_transports
from deploy.standalone.control.translate.resources import Contents
from deploy.standalone.control.translate.workloads import PodView
from deploy.standalone.control.view import Carried, Settings, View
from deploy.standalone.control.world import Name, World, build

#: The endpoints of Services, and those of ServiceEntries' hosts.
Endpoints = dict[Name, tuple[Endpoint, ...]]
NOBODY = "no pod is selected"


def derive(
    catalog: Catalog, statuses: Statuses, before: Carried, settings: Settings, memo: Memo
) -> View:
    """Make everything that is served from what was written and what is said of pods."""
    world = memo.get(
        "world", (Same(catalog), settings), lambda: build(catalog.objects(), settings.waypoints)
    )
    allocations = memo.get(
        "allocations",
        (Same(world), before.addresses),
        lambda: allocate(world.services.values(), before.addresses, settings.ranges),
    )
    hosts = memo.get("hosts", (Same(world),), lambda: find_hosts(world))
    nodes = memo.get("nodes", (Same(world),), lambda: nodes_of(settings.nodes, world.nodes))
    seen = age_order(before.authentications, world.authentications)
    authentications = memo.get(
        "authentications",
        (Same(world), seen),
        lambda: Authentications(world.authentications, seen),
    )
    rollout = roll_out(
        world, before.revisions, statuses, memo, nodes=nodes, places=before.places
    )
    current = {
        name: status
        for name, status in statuses.items()
        if (pod := rollout.pods.get(name)) and pod.uid == status.uid
    }
    waypoints = ready_once(world, rollout, current, before.waypoints)
    chosen = {name: waypoint_of_service(each, world) for name, each in world.services.items()}
    entry_choices = {n: waypoint_of_entry(each, world) for n, each in world.entries.items()}
    frontends = memo.get(
        "frontends",
        (Same(world), Same(hosts)),
        lambda: find_frontends(
            world,
            hosts,
            {name: choice.gateway for name, choice in chosen.items()},
            {name: choice.gateway for name, choice in entry_choices.items()},
        ),
    )
    destinations = memo.get(
        "destinations", (Same(frontends),), lambda: find_destinations(world, frontends)
    )
    attachments = memo.get(
        "attachments",
        (Same(destinations),),
        lambda: attach(world, frontends, destinations),
    )
    filters = memo.get(
        "filters",
        (Same(attachments),),
        lambda: find_filters(world, frontends, attachments),
    )
    pods, problems = look_at_pods(world, hosts, rollout, waypoints, authentications)
    wanted = wanted_names(world, hosts)
    names: Names = {name: ips for name, ips in before.names.items() if name in wanted}
    outsides, outside_choices = look_outside(
        world,
        hosts,
        names,
        waypoints,
        authentications,
        enrolled=Enrolled(settings.members, before.members),
    )
    policies = {
        name: memo.get(("policy", name), (policy,), partial(translate, policy))
        for name, policy in world.policies.items()
    }
    endpoints, host_endpoints = endpoints_of(pods, current, outsides.values())
    for choice in (*chosen.values(), *entry_choices.values(), *outside_choices):
        problems |= {choice.problem} if choice.problem else set()
    problems |= {*world.problems, *catalog.problems(), *allocations.problems}
    problems |= {*rollout.problems, *attachments.problems, *filters.problems, *hosts.problems}
    problems |= {p for p in map(check_gateway, world.gateways.values()) if p}
    problems |= {p for each in policies.values() for p in each.problems}
    problems |= {p for each in world.services.values() for p in check_transports(each)}
    problems |= idle(world, pods, outsides) | unknown_nodes(world, settings)
    problems |= idle_policies(world, pods, outsides)
    problems |= authentications.problems(labelled(pods, outsides))
    view = View(
        world=world,
        nodes=nodes,
        allocations=allocations,
        attachments=attachments,
        filters=filters.by_key,
        patched_routes=filters.routes,
        patches=filters.clusters,
        access=filters.access,
        held=filters.held,
        destinations=destinations,
        hosts=hosts,
        pods=pods,
        outsides=outsides,
        policies=policies,
        authentications=authentications,
        endpoints=endpoints,
        host_endpoints=host_endpoints,
        service_waypoints={n: choice.in_force(waypoints) for n, choice in chosen.items()},
        host_waypoints={
            key: entry_choices[(host.entry.namespace, host.entry.name)].in_force(waypoints)
            for key, host in hosts.by_key.items()
        },
        wanted_names=wanted,
        statuses=current,
        contents=Contents(),
        snapshot=Snapshot(),
        problems=tuple(sorted(problems)),
        carried=Carried(
            addresses=allocations.addresses,
            revisions=rollout.revisions,
            places=rollout.places,
            authentications=seen,
            waypoints=waypoints,
            vips=allocate_hosts(hosts.by_key.values(), before.vips),
            names=names,
            members=before.members,
        ),
    )
    view = replace(
        view,
        contents=make_contents(view, settings.trust_domain, memo),
        snapshot=snapshot_of(view, memo),
    )
    memo.end_round()
    return view


def ready_once(
    world: World, rollout: Rollout, statuses: Statuses, before: frozenset[Name]
) -> frozenset[Name]:
    """The waypoints that were ready before, and still exist, or are ready now.

    One that is just starting isn't used yet, so that adding a waypoint interrupts
    nothing, as in Istio. Afterwards it is used whether it runs or not, because
    requests must not pass it by.
    """
    now = {
        (pod.namespace, pod.gateway)
        for pod in rollout.pods.values()
        if pod.gateway is not None and is_ready(pod, statuses)
    }
    return frozenset((before | now) & world.gateways.keys())


def look_at_pods(
    world: World,
    hosts: Hosts,
    rollout: Rollout,
    waypoints: frozenset[Name],
    authentications: Authentications,
) -> tuple[dict[PodName, PodView], set[Problem]]:
    """Follow each pod's labels; also what is wrong with them."""
    views = {}
    problems = set()
    for name, pod in rollout.pods.items():
        choice = waypoint_of_pod(pod, world)
        if choice.problem:
            problems.add(choice.problem)
        views[name] = look_at_pod(
            pod, world, hosts, choice.in_force(waypoints), authentications
        )
    return views, problems


def look_at_pod(
    pod: DesiredPod,
    world: World,
    hosts: Hosts,
    waypoint: Name | None,
    authentications: Authentications,
) -> PodView:
    """What a pod's labels, and its node's, come to."""
    namespace, labels = pod.namespace, pod.template.labels
    return PodView(
        pod=pod,
        enrolled=is_enrolled(pod, world.namespace(namespace)),
        waypoint=waypoint,
        services=world.selectors.selecting(namespace, labels),
        hosts=hosts_selecting(namespace, labels, world, hosts),
        policies=policies_of(namespace, labels, world, authentications),
        locality=world.locality(pod.node),
    )


def endpoints_of(
    pods: Mapping[PodName, PodView], statuses: Statuses, outsides: Iterable[OutsideView]
) -> tuple[Endpoints, Endpoints]:
    """Who is behind each Service, and each host, has addresses and hasn't ended."""
    found: dict[Name, list[Endpoint]] = defaultdict(list)
    of_hosts: dict[Name, list[Endpoint]] = defaultdict(list)

    def add(endpoint: Endpoint, of: PodView | OutsideView) -> None:
        for service in of.services:
            found[(service.namespace, service.name)].append(endpoint)
        for host in of.hosts:
            of_hosts[host.key].append(endpoint)

    for name, view in pods.items():
        status = statuses.get(name)
        if status is not None and status.serving and (view.services or view.hosts):
            add(Endpoint(view.pod.name, view.pod, status.ips, status.ready), view)
    for outside in outsides:
        if outside.ips:
            add(Endpoint(outside.name, outside.outside, outside.ips, ready=True), outside)
    return (
        {name: tuple(endpoints) for name, endpoints in found.items()},
        {name: tuple(endpoints) for name, endpoints in of_hosts.items()},
    )


def idle(
    world: World, pods: Mapping[PodName, PodView], outsides: Mapping[str, OutsideView]
) -> set[Problem]:
    """Report services that nothing is behind, which refuse every connection."""
    views: list[PodView | OutsideView] = [*pods.values(), *outsides.values()]
    selected = {(s.namespace, s.name) for view in views for s in view.services}
    found = {
        service.origin.notice("spec.selector", f"{NOBODY}: connections are refused")
        for name, service in world.services.items()
        if name not in selected and service.gateway is None
    }
    entries = {host.entry.key for view in views for host in view.hosts}
    found |= {
        entry.origin.notice("spec.workloadSelector", f"{NOBODY}: connections are refused")
        for entry in world.entries.values()
        if entry.selector and entry.key not in entries
    }
    return found | {
        entry.origin.notice("spec.endpoints", f"{view.outside.address} has no address so far")
        for view in outsides.values()
        if not view.ips and (entry := world.entries.get((view.namespace, view.name)))
    }


def idle_policies(
    world: World, pods: Mapping[PodName, PodView], outsides: Mapping[str, OutsideView]
) -> set[Problem]:
    """Report policies whose selector nobody has the labels of."""
    views: list[PodView | OutsideView] = [*pods.values(), *outsides.values()]
    named = {policy for view in views for policy in view.policies}
    return {
        policy.origin.notice("spec.selector", f"{NOBODY}: the policy holds for nobody")
        for policy in world.policies.values()
        if policy.selector and policy_name(policy) not in named and is_sent(policy)
    }


def labelled(
    pods: Mapping[PodName, PodView], outsides: Mapping[str, OutsideView]
) -> Iterator[tuple[str, Labels]]:
    """Namespace and labels of every workload."""
    yield from ((view.pod.namespace, view.pod.template.labels) for view in pods.values())
    yield from ((view.namespace, view.labels) for view in outsides.values())


def unknown_nodes(world: World, settings: Settings) -> set[Problem]:
    """Report Nodes that the mesh doesn't have."""
    return {
        node.origin.notice(
            "metadata.name", f"without effect: the mesh's nodes are {', '.join(settings.nodes)}"
        )
        for name, node in world.nodes.items()
        if name not in settings.nodes
    }
