"""The objects in force, indexed, with what Gateways add to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from deploy.standalone.control.gatewayapi import (
    ClusterObject,
    Gateway,
    HttpRoute,
    ReferenceGrant,
)
from deploy.standalone.control.objects import (
    Deployment,
    Key,
    Labels,
    Namespace,
    Pod,
    Service,
    ServiceAccount,
)
from deploy.standalone.control.problems import Origin, Problem
from deploy.standalone.control.waypoints import (
    WaypointSettings,
    waypoint_deployment,
    waypoint_service,
)

Name = tuple[str, str]
#: A Deployment's name; a Gateway's pods don't meet a Deployment of the same name.
DeploymentName = tuple[str, str, str | None]


@dataclass(frozen=True, slots=True)
class World:
    """All objects by (namespace, name), and who is wrong about whom."""

    namespaces: Mapping[str, Namespace]
    services: Mapping[Name, Service]
    gateways: Mapping[Name, Gateway]
    pods: Mapping[Name, Pod]
    deployments: Mapping[DeploymentName, Deployment]
    routes: tuple[HttpRoute, ...]
    grants: Mapping[str, tuple[ReferenceGrant, ...]]
    selectors: Selectors
    problems: tuple[Problem, ...]

    def namespace(self, name: str) -> Namespace:
        """A namespace; one that nobody declared has no labels."""
        return self.namespaces.get(name) or Namespace(name, {}, Origin("", 0))


class Selectors:
    """Finds the Services that select a pod, without trying each."""

    def __init__(self, services: Iterable[Service]) -> None:
        self.by_label: dict[tuple[str, str, str], list[Service]] = defaultdict(list)
        for service in services:
            # Any one label of the selector will do: a pod must have them all.
            for key, value in list(service.selector.items())[:1]:
                self.by_label[(service.namespace, key, value)].append(service)

    def selecting(self, namespace: str, labels: Labels) -> tuple[Service, ...]:
        """The namespace's Services whose selector fits the labels, by name."""
        found = [
            service
            for key, value in labels.items()
            for service in self.by_label.get((namespace, key, value), ())
            if all(labels.get(k) == v for k, v in service.selector.items())
        ]
        return tuple(sorted(found, key=lambda service: service.name))


@dataclass(slots=True)
class Parts:
    """A world in the making."""

    namespaces: dict[str, Namespace] = field(default_factory=dict)
    accounts: set[Name] = field(default_factory=set)
    services: dict[Name, Service] = field(default_factory=dict)
    gateways: dict[Name, Gateway] = field(default_factory=dict)
    pods: dict[Name, Pod] = field(default_factory=dict)
    deployments: dict[DeploymentName, Deployment] = field(default_factory=dict)
    routes: list[HttpRoute] = field(default_factory=list)
    grants: dict[str, list[ReferenceGrant]] = field(default_factory=lambda: defaultdict(list))
    problems: list[Problem] = field(default_factory=list)


def build(objects: Mapping[Key, ClusterObject], settings: WaypointSettings) -> World:
    """Index the objects and add what Gateways ask for."""
    parts = Parts()
    for item in objects.values():
        place(item, parts)
    for name, gateway in parts.gateways.items():
        if name in parts.services:
            parts.problems.append(
                gateway.origin.error(
                    "metadata.name",
                    f"a Service {'/'.join(name)} is in the way of the waypoint's",
                )
            )
            continue
        parts.services[name] = waypoint_service(gateway)
        parts.deployments[(*name, gateway.name)] = waypoint_deployment(gateway, settings)
        parts.accounts.add(name)
    check_references(objects.values(), parts)
    return World(
        namespaces=parts.namespaces,
        services=parts.services,
        gateways={
            name: g for name, g in parts.gateways.items() if parts.services[name].gateway
        },
        pods=parts.pods,
        deployments=parts.deployments,
        routes=tuple(sorted(parts.routes, key=lambda route: (route.namespace, route.name))),
        grants={namespace: tuple(grants) for namespace, grants in parts.grants.items()},
        selectors=Selectors(parts.services.values()),
        problems=tuple(parts.problems),
    )


def place(item: ClusterObject, parts: Parts) -> None:
    """Put an object where it is looked for."""
    match item:
        case Namespace():
            parts.namespaces[item.name] = item
        case ServiceAccount():
            parts.accounts.add((item.namespace, item.name))
        case Service():
            parts.services[(item.namespace, item.name)] = item
        case Gateway():
            parts.gateways[(item.namespace, item.name)] = item
        case Pod():
            parts.pods[(item.namespace, item.name)] = item
        case Deployment():
            parts.deployments[(item.namespace, item.name, None)] = item
        case HttpRoute():
            parts.routes.append(item)
        case ReferenceGrant():
            parts.grants[item.namespace].append(item)


def check_references(objects: Iterable[ClusterObject], parts: Parts) -> None:
    """Report namespaces and service accounts that are used and not there."""
    seen = {"default", *parts.namespaces}
    for item in objects:
        if isinstance(item, Namespace):
            continue
        namespace = item.namespace
        if namespace not in seen:
            seen.add(namespace)
            parts.problems.append(
                item.origin.notice(
                    "metadata.namespace",
                    f"no Namespace {namespace} is declared: it counts as one without labels",
                )
            )
        if isinstance(item, Pod | Deployment):
            account = item.template.service_account
            if account != "default" and (namespace, account) not in parts.accounts:
                path = "spec." if isinstance(item, Pod) else "spec.template.spec."
                parts.problems.append(
                    item.origin.notice(
                        f"{path}serviceAccountName",
                        f"no ServiceAccount {namespace}/{account} is declared",
                    )
                )
