"""Objects and statuses to everything that is served: one pure step.

Each piece is remembered with its inputs (memo.py), so that a step costs what
changed, and a look at the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from deploy.standalone.control.allocate import (
    Allocations,
    Ranges,
    ServiceName,
    allocate,
)
from deploy.standalone.control.catalog import Catalog
from deploy.standalone.control.membership import (
    check_gateway,
    is_enrolled,
    waypoint_of_pod,
    waypoint_of_service,
)
from deploy.standalone.control.memo import Memo, Same
from deploy.standalone.control.objects import Family, IpAddress, Service
from deploy.standalone.control.pods import DesiredPod, PodName
from deploy.standalone.control.problems import Problem
from deploy.standalone.control.rollout import Revisions, Rollout, Statuses, is_ready, roll_out
from deploy.standalone.control.snapshot import (
    Endpoint,
    Snapshot,
    make_snapshot,
    pod_json,
    service_json,
)
from deploy.standalone.control.translate.attachments import (
    AttachedRoute,
    Attachments,
    attach,
)
from deploy.standalone.control.translate.resources import (
    Contents,
    Resource,
    pack,
    pack_service,
)
from deploy.standalone.control.translate.routes import configuration_name, route_configuration
from deploy.standalone.control.translate.services import service_address, service_name
from deploy.standalone.control.translate.workloads import workload_address, workload_name
from deploy.standalone.control.waypoints import WaypointSettings
from deploy.standalone.control.world import Name, World, build


@dataclass(frozen=True, slots=True)
class Settings:
    """What stays the same as long as the process runs."""

    nodes: tuple[str, ...]
    ranges: Ranges
    waypoints: WaypointSettings


@dataclass(frozen=True, slots=True)
class Carried:
    """What a step hands to the next one, and what a restart finds on disk.

    waypoints: those that have been ready once, and are used since.
    """

    addresses: Mapping[ServiceName, tuple[IpAddress, ...]] = field(default_factory=dict)
    revisions: Revisions = field(default_factory=dict)
    waypoints: frozenset[Name] = frozenset()


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod with what its labels came to."""

    pod: DesiredPod
    enrolled: bool
    waypoint: Name | None
    services: tuple[Service, ...]


@dataclass(frozen=True, slots=True)
class View:
    """Everything that is served."""

    world: World
    allocations: Allocations
    attachments: Attachments
    pods: Mapping[PodName, PodView]
    endpoints: Mapping[Name, tuple[Endpoint, ...]]
    service_waypoints: Mapping[Name, Name | None]
    statuses: Statuses
    contents: Contents
    snapshot: Snapshot
    problems: tuple[Problem, ...]
    carried: Carried


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
    rollout = roll_out(world, before.revisions, statuses, settings.nodes, memo)
    current = {
        name: status
        for name, status in statuses.items()
        if (pod := rollout.pods.get(name)) and pod.uid == status.uid
    }
    waypoints = ready_once(world, rollout, current, before.waypoints)
    problems: set[Problem] = set()
    chosen = {name: waypoint_of_service(each, world) for name, each in world.services.items()}
    problems |= {choice.problem for choice in chosen.values() if choice.problem}
    attachments = attach(world, {name for name, choice in chosen.items() if choice.gateway})
    pods = look_at_pods(world, rollout, waypoints, problems)
    endpoints = endpoints_of(pods, current)
    problems |= {*world.problems, *catalog.problems(), *allocations.problems}
    problems |= {*rollout.problems, *attachments.problems}
    problems |= {p for p in map(check_gateway, world.gateways.values()) if p}
    problems |= idle_services(world, pods)
    view = View(
        world=world,
        allocations=allocations,
        attachments=attachments,
        pods=pods,
        endpoints=endpoints,
        service_waypoints={n: choice.in_force(waypoints) for n, choice in chosen.items()},
        statuses=current,
        contents=Contents(),
        snapshot=Snapshot(),
        problems=tuple(sorted(problems)),
        carried=Carried(allocations.addresses, rollout.revisions, waypoints),
    )
    view = replace(view, contents=make_contents(view, memo), snapshot=snapshot_of(view, memo))
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
    world: World, rollout: Rollout, waypoints: frozenset[Name], problems: set[Problem]
) -> dict[PodName, PodView]:
    """Follow each pod's labels; what is wrong with them is added to problems."""
    views = {}
    for name, pod in rollout.pods.items():
        choice = waypoint_of_pod(pod, world)
        if choice.problem:
            problems.add(choice.problem)
        views[name] = PodView(
            pod=pod,
            enrolled=is_enrolled(pod, world.namespace(pod.namespace)),
            waypoint=choice.in_force(waypoints),
            services=world.selectors.selecting(pod.namespace, pod.template.labels),
        )
    return views


def endpoints_of(
    pods: Mapping[PodName, PodView], statuses: Statuses
) -> dict[Name, tuple[Endpoint, ...]]:
    """The pods behind each Service that have addresses and haven't ended."""
    found: dict[Name, list[Endpoint]] = defaultdict(list)
    for name, view in pods.items():
        status = statuses.get(name)
        if status is None or not status.serving:
            continue
        for service in view.services:
            found[(service.namespace, service.name)].append(Endpoint(view.pod, status))
    return {name: tuple(endpoints) for name, endpoints in found.items()}


def idle_services(world: World, pods: Mapping[PodName, PodView]) -> set[Problem]:
    """Report Services that no pod is behind, which refuse every connection."""
    selected = {
        (service.namespace, service.name) for view in pods.values() for service in view.services
    }
    return {
        service.origin.notice("spec.selector", "no pod is selected: connections are refused")
        for name, service in world.services.items()
        if name not in selected and service.gateway is None
    }


def make_contents(view: View, memo: Memo) -> Contents:
    """Every resource of the stream, for daemons and for waypoints."""
    plain: dict[str, Resource] = {}
    routed: dict[str, Resource] = {}
    for name, pod in view.pods.items():
        status = view.statuses.get(name)
        if status is None or not status.serving:
            continue
        uid = workload_name(pod.pod)
        inputs = (pod, status.ips, status.ready)
        plain[uid] = memo.get(("workload", name), inputs, partial(pack_pod, uid, pod, view))
    for name, service in view.world.services.items():
        routes = view.attachments.routes.get(name, {})
        described = (
            service,
            view.allocations.addresses[name],
            view.allocations.families[name],
            view.service_waypoints[name],
        )
        key = service_name(service)
        plain[key], routed[key] = memo.get(
            ("service", name),
            (*described, routes),
            partial(pack_routed, key, described, routes),
        )
    return Contents(plain, {**plain, **routed})


def pack_pod(uid: str, view: PodView, whole: View) -> Resource:
    """A pod's resource."""
    status = whole.statuses[view.pod.full_name]
    address = workload_address(
        view.pod, status, view.services, enrolled=view.enrolled, waypoint=view.waypoint
    )
    return pack(uid, address)


def pack_routed(
    key: str,
    described: tuple[Service, tuple[IpAddress, ...], tuple[Family, ...], Name | None],
    routes: Mapping[int, tuple[AttachedRoute, ...]],
) -> tuple[Resource, Resource]:
    """A service's resource, for daemons and for waypoints."""
    service = described[0]
    configurations = {
        configuration_name(port, service.hostname): route_configuration(
            service.hostname, port, attached
        )
        for port, attached in sorted(routes.items())
    }
    return pack_service(key, service_address(*described), configurations)


def snapshot_of(view: View, memo: Memo) -> Snapshot:
    """What the runner gets; pods without a node wait until they have one."""
    pods = [
        memo.get(
            ("pod json", name),
            (each.pod, each.enrolled),
            partial(pod_json, each.pod, enrolled=each.enrolled),
        )
        for name, each in sorted(view.pods.items(), key=lambda item: item[0])
        if each.pod.node
    ]
    services = []
    for name, service in sorted(view.world.services.items(), key=lambda item: item[0]):
        inputs = (
            service,
            view.allocations.addresses[name],
            view.allocations.families[name],
            view.endpoints.get(name, ()),
        )
        services.append(
            memo.get(("service json", name), inputs, partial(service_json, *inputs))
        )
    return make_snapshot(pods, services)
