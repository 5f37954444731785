"""The objects in force, indexed, with what Gateways add to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from deploy.standalone.control.extensionapi import EnvoyFilter, MeshConfig
from deploy.standalone.control.gatewayapi import (
    ClusterObject,
    Gateway,
    HttpRoute,
    ReferenceGrant,
    StreamRoute,
)
from deploy.standalone.control.istioapi import (
    ROOT_NAMESPACE,
    AuthorizationPolicy,
    PeerAuthentication,
    ServiceEntry,
    WorkloadEntry,
)
from deploy.standalone.control.objects import (
    NOWHERE,
    Deployment,
    Key,
    Locality,
    Namespace,
    Node,
    Pod,
    Service,
    ServiceAccount,
)
from deploy.standalone.control.pluginapi import PythonFilter
from deploy.standalone.control.problems import Origin, Problem
from deploy.standalone.control.selectors import Selectors
from deploy.standalone.control.tokenapi import RequestAuthentication
from deploy.standalone.control.trafficapi import DestinationRule, VirtualService
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
    stream_routes: tuple[StreamRoute, ...]
    virtual_services: tuple[VirtualService, ...]
    destination_rules: tuple[DestinationRule, ...]
    grants: Mapping[str, tuple[ReferenceGrant, ...]]
    nodes: Mapping[str, Node]
    entries: Mapping[Name, ServiceEntry]
    workload_entries: Mapping[Name, WorkloadEntry]
    policies: Mapping[Name, AuthorizationPolicy]
    authentications: Mapping[Name, PeerAuthentication]
    envoy_filters: Mapping[Name, EnvoyFilter]
    mesh: MeshConfig | None
    request_authentications: tuple[RequestAuthentication, ...]
    plugins: Mapping[Name, PythonFilter]
    selectors: Selectors[Service]
    entry_selectors: Selectors[ServiceEntry]
    policy_selectors: Selectors[AuthorizationPolicy]
    problems: tuple[Problem, ...]

    def namespace(self, name: str) -> Namespace:
        """A namespace; one that nobody declared has no labels."""
        return self.namespaces.get(name) or Namespace(name, {}, Origin("", 0))

    def locality(self, node: str) -> Locality:
        """Where a node is, as far as it was said."""
        found = self.nodes.get(node)
        return found.locality if found else NOWHERE


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
    stream_routes: list[StreamRoute] = field(default_factory=list)
    virtual_services: list[VirtualService] = field(default_factory=list)
    destination_rules: list[DestinationRule] = field(default_factory=list)
    grants: dict[str, list[ReferenceGrant]] = field(default_factory=lambda: defaultdict(list))
    nodes: dict[str, Node] = field(default_factory=dict)
    entries: dict[Name, ServiceEntry] = field(default_factory=dict)
    workload_entries: dict[Name, WorkloadEntry] = field(default_factory=dict)
    policies: dict[Name, AuthorizationPolicy] = field(default_factory=dict)
    authentications: dict[Name, PeerAuthentication] = field(default_factory=dict)
    envoy_filters: dict[Name, EnvoyFilter] = field(default_factory=dict)
    mesh: MeshConfig | None = None
    request_authentications: list[RequestAuthentication] = field(default_factory=list)
    plugins: dict[Name, PythonFilter] = field(default_factory=dict)
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
    inherit(parts)
    return World(
        namespaces=parts.namespaces,
        services=parts.services,
        gateways={
            name: g for name, g in parts.gateways.items() if parts.services[name].gateway
        },
        pods=parts.pods,
        deployments=parts.deployments,
        routes=tuple(sorted(parts.routes, key=by_name)),
        stream_routes=tuple(sorted(parts.stream_routes, key=by_name)),
        virtual_services=tuple(sorted(parts.virtual_services, key=by_name)),
        destination_rules=tuple(sorted(parts.destination_rules, key=by_name)),
        grants={namespace: tuple(grants) for namespace, grants in parts.grants.items()},
        nodes=parts.nodes,
        entries=parts.entries,
        workload_entries=parts.workload_entries,
        policies=parts.policies,
        authentications=parts.authentications,
        envoy_filters=parts.envoy_filters,
        mesh=parts.mesh,
        request_authentications=tuple(sorted(parts.request_authentications, key=by_name)),
        plugins=parts.plugins,
        selectors=Selectors(parts.services.values()),
        entry_selectors=Selectors(parts.entries.values()),
        policy_selectors=Selectors(parts.policies.values()),
        problems=tuple(parts.problems),
    )


def by_name(
    item: HttpRoute | StreamRoute | VirtualService | DestinationRule | RequestAuthentication,
) -> Name:
    """Files don't tell which object is the oldest, so names decide what comes first."""
    return (item.namespace, item.name)


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
        case Node():
            parts.nodes[item.name] = item
        case ServiceEntry():
            parts.entries[(item.namespace, item.name)] = item
        case WorkloadEntry():
            parts.workload_entries[(item.namespace, item.name)] = item
        case AuthorizationPolicy():
            parts.policies[(item.namespace, item.name)] = item
        case PeerAuthentication():
            parts.authentications[(item.namespace, item.name)] = item
        case PythonFilter():
            parts.plugins[(item.namespace, item.name)] = item
        case _:
            place_route(item, parts)


def place_route(item: ClusterObject, parts: Parts) -> None:
    """Put an object that says what becomes of requests and connections."""
    match item:
        case HttpRoute():
            parts.routes.append(item)
        case StreamRoute():
            parts.stream_routes.append(item)
        case VirtualService():
            parts.virtual_services.append(item)
        case DestinationRule():
            parts.destination_rules.append(item)
        case EnvoyFilter():
            parts.envoy_filters[(item.namespace, item.name)] = item
        case MeshConfig():
            parts.mesh = item
        case RequestAuthentication():
            parts.request_authentications.append(item)
        case ReferenceGrant():
            parts.grants[item.namespace].append(item)


def inherit(parts: Parts) -> None:
    """Give services what their namespace says, where they say nothing."""
    for namespace in parts.namespaces.values():
        if not namespace.distribution:
            continue
        wanted = namespace.distribution
        for name, service in parts.services.items():
            if name[0] == namespace.name and not service.distribution:
                parts.services[name] = replace(service, distribution=wanted)
        for name, entry in parts.entries.items():
            if name[0] == namespace.name and not entry.distribution:
                parts.entries[name] = replace(entry, distribution=wanted)


def check_references(objects: Iterable[ClusterObject], parts: Parts) -> None:
    """Report namespaces and service accounts that are used and not there."""
    seen = {"default", ROOT_NAMESPACE, *parts.namespaces}
    for item in objects:
        if isinstance(item, Namespace | Node):
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
