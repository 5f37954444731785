"""Tables of what there is, as kubectl has them; more of them in ``workloads``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deploy.standalone.control.api.workloads import (
    NOTHING,
    Row,
    policy_rows,
    problem_rows,
    workload_rows,
)
from deploy.standalone.control.errors import UnknownError
from deploy.standalone.control.gatewayapi import HttpRoute, StreamRoute
from deploy.standalone.control.hosts import Host
from deploy.standalone.control.membership import SERVICE, WAYPOINT_FOR
from deploy.standalone.control.objects import Service
from deploy.standalone.control.pods import PodStatus
from deploy.standalone.control.rollout import is_ready
from deploy.standalone.control.routing import BackendRef, RouteRule, StreamRule
from deploy.standalone.control.schedule import misfit
from deploy.standalone.control.trafficapi import VirtualService
from deploy.standalone.control.translate.plugins import plugin_name
from deploy.standalone.control.translate.sight import PODS
from deploy.standalone.control.translate.workloads import PodView
from deploy.standalone.control.view import View

Table = tuple[list[str], Callable[[View], list[Row]]]


def table(kind: str, view: View) -> dict[str, Any]:
    """The table of a kind; raises UnknownError."""
    if kind not in TABLES:
        raise UnknownError(f"there is no table {kind!r}: {', '.join(TABLES)}")
    columns, rows = TABLES[kind]
    return {"columns": columns, "rows": rows(view)}


def pod_rows(view: View) -> list[Row]:
    """A row per pod that should run."""
    return [pod_row(view.pods[name], view) for name in sorted(view.pods)]


def pod_row(each: PodView, view: View) -> Row:
    """One pod."""
    pod = each.pod
    status = view.statuses.get(pod.full_name, PodStatus(pod.uid))
    count = len(pod.template.containers)
    said = status.message if status.message and not status.ready else status.phase
    return [
        pod.namespace,
        pod.name,
        f"{count if status.ready else 0}/{count}",
        said if pod.node else f"Pending: {misfit(pod.template, view.nodes)[1]}",
        str(status.restarts),
        ",".join(str(ip) for ip in status.ips) or NOTHING,
        pod.node or NOTHING,
        "ambient" if each.enrolled else NOTHING,
    ]


def service_rows(view: View) -> list[Row]:
    """A row per Service, those of waypoints included, and per host of a ServiceEntry."""
    rows = [service_row(service, view) for _, service in sorted(view.world.services.items())]
    return rows + [host_row(host, view) for _, host in sorted(view.hosts.by_key.items())]


def host_row(host: Host, view: View) -> Row:
    """One host of a ServiceEntry; its addresses, or those that it was given."""
    entry = host.entry
    own = [str(n[0]) if n.num_addresses == 1 else str(n) for n in entry.addresses]
    given = [str(address) for address in view.carried.vips.get(host.key, ())]
    endpoints = view.host_endpoints.get(host.key, ())
    waypoint = view.host_waypoints[host.key]
    return [
        entry.namespace,
        host.hostname,
        ",".join(own or given) or NOTHING,
        ",".join(f"{port.port}/{port.transport}" for port in entry.ports),
        f"{sum(each.ready for each in endpoints)}/{len(endpoints)}",
        "/".join(waypoint) if waypoint else NOTHING,
    ]


def service_row(service: Service, view: View) -> Row:
    """One Service."""
    name = (service.namespace, service.name)
    addresses = view.allocations.addresses[name]
    endpoints = view.endpoints.get(name, ())
    usable = sum(e.ready or service.publish_not_ready for e in endpoints)
    waypoint = view.service_waypoints[name]
    return [
        service.namespace,
        service.name,
        "None" if service.headless else ",".join(map(str, addresses)) or NOTHING,
        ",".join(f"{port.port}/{port.transport}" for port in service.ports) or NOTHING,
        f"{usable}/{len(endpoints)}",
        "/".join(waypoint) if waypoint else NOTHING,
    ]


def route_rows(view: View) -> list[Row]:
    """A row per route of the Gateway API, and per VirtualService."""
    world = view.world
    routes: tuple[HttpRoute | StreamRoute, ...] = (*world.routes, *world.stream_routes)
    rows = [route_row(each, view, [rule.backends for rule in each.rules]) for each in routes]
    for service in world.virtual_services:
        rules: tuple[RouteRule | StreamRule, ...] = (*service.http, *service.tls, *service.tcp)
        rows.append(route_row(service, view, [rule.backends for rule in rules]))
    return rows


def route_row(
    route: HttpRoute | StreamRoute | VirtualService,
    view: View,
    rules: list[tuple[BackendRef, ...]],
) -> Row:
    """One of them; rules: each one's backends, as a hint of the rest."""
    if isinstance(route, VirtualService):
        parents = list(route.hosts)
    else:
        parents = [f"{p.name}:{p.port}" if p.port else p.name for p in route.parents]
    backends = [",".join(map(backend_text, each)) or NOTHING for each in rules]
    return [
        route.namespace,
        route.name,
        route.key.kind,
        ",".join(parents) or NOTHING,
        str(len(rules)),
        " | ".join(backends),
        str(view.attachments.accepted[route.key]),
    ]


def backend_text(backend: BackendRef) -> str:
    """A backend in a word."""
    port = f":{backend.port}" if backend.port else ""
    subset = f"/{backend.subset}" if backend.subset else ""
    return f"{backend.name}{port}{subset}={backend.weight}"


def waypoint_rows(view: View) -> list[Row]:
    """A row per waypoint. PROGRAMMED: it has been ready, and is used since."""
    rows = []
    for name, gateway in sorted(view.world.gateways.items()):
        pods = [
            each.pod
            for each in view.pods.values()
            if each.pod.gateway is not None and (each.pod.namespace, each.pod.owner) == name
        ]
        ready = sum(is_ready(pod, view.statuses) for pod in pods)
        served = sum(waypoint == name for waypoint in view.service_waypoints.values())
        rows.append(
            [
                gateway.namespace,
                gateway.name,
                gateway.gateway_class,
                gateway.labels.get(WAYPOINT_FOR, SERVICE),
                ",".join(map(str, view.allocations.addresses[name])) or NOTHING,
                f"{ready}/{len(pods)}",
                str(name in view.carried.waypoints),
                str(served),
            ]
        )
    return rows


def plugin_rows(view: View) -> list[Row]:
    """A row per PythonFilter. SERVICES: whose requests it sees."""
    rows = []
    for _, plugin in sorted(view.world.plugins.items()):
        name = plugin_name(plugin)
        served = {
            key
            for key, ports in view.filters.items()
            for port, made in ports.items()
            if port != PODS and any(each.name == name for each in made.http_filters)
        }
        rows.append(
            [
                plugin.namespace,
                plugin.name,
                plugin.class_name or plugin.entry_point,
                plugin.phase.value,
                str(plugin.priority),
                "FAIL_OPEN" if plugin.fail_open else "FAIL_CLOSE",
                ",".join(map(str, plugin.targets)),
                str(len(served)),
            ]
        )
    return rows


TABLES: dict[str, Table] = {
    "pods": (
        ["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "IP", "NODE", "MESH"],
        pod_rows,
    ),
    "services": (
        ["NAMESPACE", "NAME", "CLUSTER-IP", "PORTS", "ENDPOINTS", "WAYPOINT"],
        service_rows,
    ),
    "routes": (
        ["NAMESPACE", "NAME", "KIND", "SERVICES", "RULES", "BACKENDS", "ACCEPTED"],
        route_rows,
    ),
    "waypoints": (
        ["NAMESPACE", "NAME", "CLASS", "FOR", "ADDRESS", "READY", "PROGRAMMED", "SERVICES"],
        waypoint_rows,
    ),
    "workloads": (
        [
            "NAMESPACE",
            "NAME",
            "KIND",
            "IP",
            "NODE",
            "ACCOUNT",
            "LOCALITY",
            "SERVICES",
            "POLICIES",
        ],
        workload_rows,
    ),
    "policies": (
        ["NAMESPACE", "NAME", "KIND", "ACTION", "SCOPE", "RULES", "WORKLOADS", "STATE"],
        policy_rows,
    ),
    "plugins": (
        [
            "NAMESPACE",
            "NAME",
            "FILTER",
            "PHASE",
            "PRIORITY",
            "ON FAILURE",
            "TARGETS",
            "SERVICES",
        ],
        plugin_rows,
    ),
    "problems": (["LEVEL", "PLACE", "FIELD", "MESSAGE"], problem_rows),
}
