"""Tables of pods, services, routes and waypoints, as kubectl has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deploy.standalone.control.derive import PodView, View
from deploy.standalone.control.errors import UnknownError
from deploy.standalone.control.gatewayapi import HttpRoute
from deploy.standalone.control.membership import SERVICE, WAYPOINT_FOR
from deploy.standalone.control.objects import Service
from deploy.standalone.control.pods import PodStatus
from deploy.standalone.control.rollout import is_ready

NOTHING = "-"

Row = list[str]
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
        said if pod.node else f"no node {pod.template.node!r}",
        str(status.restarts),
        ",".join(str(ip) for ip in status.ips) or NOTHING,
        pod.node or NOTHING,
        "ambient" if each.enrolled else NOTHING,
    ]


def service_rows(view: View) -> list[Row]:
    """A row per Service, those of waypoints included."""
    return [service_row(service, view) for _, service in sorted(view.world.services.items())]


def service_row(service: Service, view: View) -> Row:
    """One Service."""
    name = (service.namespace, service.name)
    addresses = view.allocations.addresses[name]
    endpoints = view.endpoints.get(name, ())
    usable = sum(e.status.ready or service.publish_not_ready for e in endpoints)
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
    """A row per HTTPRoute."""
    return [route_row(route, view) for route in view.world.routes]


def route_row(route: HttpRoute, view: View) -> Row:
    """One HTTPRoute, with the split of its first rule as a hint of the rest."""
    attached = view.attachments.accepted[(route.namespace, route.name)]
    parents = [f"{p.name}:{p.port}" if p.port else p.name for p in route.parents]
    backends = [
        ",".join(f"{b.name}:{b.port}={b.weight}" for b in rule.backends) or NOTHING
        for rule in route.rules
    ]
    return [
        route.namespace,
        route.name,
        ",".join(parents) or NOTHING,
        str(len(route.rules)),
        " | ".join(backends),
        "True" if attached else "False",
    ]


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
        ["NAMESPACE", "NAME", "SERVICES", "RULES", "BACKENDS", "ACCEPTED"],
        route_rows,
    ),
    "waypoints": (
        ["NAMESPACE", "NAME", "CLASS", "FOR", "ADDRESS", "READY", "PROGRAMMED", "SERVICES"],
        waypoint_rows,
    ),
}
