"""Workloads that no pod is: WorkloadEntries, and endpoints of ServiceEntries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from deploy.standalone.control.authentication import Authentications
from deploy.standalone.control.enrolled import Enrolled
from deploy.standalone.control.hosts import Host, Hosts
from deploy.standalone.control.istioapi import Outside, Resolution, ServiceEntry, WorkloadEntry
from deploy.standalone.control.membership import Choice, waypoint_of_outside
from deploy.standalone.control.objects import IpAddress, Labels, Service
from deploy.standalone.control.selected import policies_of
from deploy.standalone.control.translate.workloads import CLUSTER_ID
from deploy.standalone.control.world import Name, World
from ztunnel_compat.names import workload_entry_uid

#: What host names were last found to stand for.
Names = Mapping[str, tuple[IpAddress, ...]]


@dataclass(frozen=True, slots=True)
class OutsideView:
    """A workload that is no pod, with what its labels came to. uid: in the stream.

    node: the one that has its addresses, or empty; served: that one's agent takes tunnels
    for it.
    """

    uid: str
    namespace: str
    name: str
    outside: Outside
    labels: Labels
    ips: tuple[IpAddress, ...]
    services: tuple[Service, ...]
    hosts: tuple[Host, ...]
    policies: tuple[str, ...]
    waypoint: Name | None
    tunnel: bool
    from_entry: bool
    node: str = ""
    served: bool = False


def look_outside(
    world: World,
    hosts: Hosts,
    names: Names,
    waypoints: frozenset[Name],
    authentications: Authentications,
    *,
    enrolled: Enrolled,
) -> tuple[dict[str, OutsideView], list[Choice]]:
    """Every such workload by its name in the stream, and the choices of waypoints."""
    choices: list[Choice] = []
    views: dict[str, OutsideView] = {}
    for workload in world.workload_entries.values():
        choice = waypoint_of_outside(
            workload.labels, workload.origin, workload.namespace, world
        )
        choices.append(choice)
        view = view_of_workload(
            workload,
            world,
            hosts,
            choice.in_force(waypoints),
            authentications,
            enrolled=enrolled,
        )
        views[view.uid] = view
    for entry in world.entries.values():
        policies = policies_of(entry.namespace, entry.labels, world, authentications)
        for outside, served in endpoints(entry, hosts.of_entry[(entry.namespace, entry.name)]):
            choice = Choice()
            if entry.endpoints:
                choice = waypoint_of_outside(
                    outside.labels, entry.origin, entry.namespace, world
                )
            choices.append(choice)
            uid = f"{CLUSTER_ID}/networking.istio.io/ServiceEntry/{entry.namespace}/"
            uid += f"{entry.name}/{outside.address}"
            views[uid] = OutsideView(
                uid=uid,
                namespace=entry.namespace,
                name=entry.name,
                outside=outside,
                labels=entry.labels,
                ips=resolved(outside, entry.resolution, names),
                services=(),
                hosts=served,
                policies=policies,
                waypoint=choice.in_force(waypoints),
                tunnel=entry.tunnel,
                from_entry=True,
            )
    return views, choices


def view_of_workload(
    workload: WorkloadEntry,
    world: World,
    hosts: Hosts,
    waypoint: Name | None,
    authentications: Authentications,
    *,
    enrolled: Enrolled,
) -> OutsideView:
    """A WorkloadEntry's view: Services and ServiceEntries select it by its labels."""
    namespace, labels = workload.namespace, workload.labels
    uid = workload_entry_uid(CLUSTER_ID, namespace, workload.name)
    ips = resolved(workload.outside, Resolution.STATIC, {})
    node = enrolled.node_of(ips)
    return OutsideView(
        uid=uid,
        namespace=namespace,
        name=workload.name,
        outside=workload.outside,
        labels=labels,
        ips=ips,
        services=world.selectors.selecting(namespace, labels),
        hosts=hosts_selecting(namespace, labels, world, hosts),
        policies=policies_of(namespace, labels, world, authentications),
        waypoint=waypoint,
        tunnel=workload.tunnel,
        from_entry=False,
        node=node,
        served=enrolled.serves(node, uid),
    )


def hosts_selecting(
    namespace: str, labels: Labels, world: World, hosts: Hosts
) -> tuple[Host, ...]:
    """The hosts whose ServiceEntry selects these labels."""
    return tuple(
        host
        for entry in world.entry_selectors.selecting(namespace, labels)
        for host in hosts.of_entry[(namespace, entry.name)]
    )


def endpoints(
    entry: ServiceEntry, hosts: tuple[Host, ...]
) -> Iterator[tuple[Outside, tuple[Host, ...]]]:
    """A ServiceEntry's own workloads, each with the hosts that it serves, if any.

    One that is resolved by name and names none stands for its hosts, each by itself.
    """
    if entry.endpoints:
        for outside in entry.endpoints if hosts else ():
            yield outside, hosts
    elif entry.resolution.by_name and not entry.selector:
        for host in hosts:
            yield Outside(host.hostname), (host,)


def resolved(outside: Outside, resolution: Resolution, names: Names) -> tuple[IpAddress, ...]:
    """A workload's addresses; of a name, all that it stands for, or only the first."""
    if not isinstance(outside.address, str):
        return (outside.address,)
    found = names.get(outside.address, ())
    return found[:1] if resolution is Resolution.DNS_ROUND_ROBIN else found


def wanted_names(world: World, hosts: Hosts) -> frozenset[str]:
    """Every host name that must be resolved."""
    return frozenset(
        outside.address
        for name, entry in world.entries.items()
        for outside, _ in endpoints(entry, hosts.of_entry[name])
        if isinstance(outside.address, str)
    )
