"""EnvoyFilters: patches to a service's filters and routes, applied last of all.

Those of the root namespace come first, then by priority, then by name; the patches of
one in the order in which they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.route.v3 import route_components_pb2 as routes
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as pb,
)

from deploy.standalone.control.extensionapi import (
    ApplyTo,
    ConfigPatch,
    EnvoyFilter,
    Operation,
    PatchMatch,
)
from deploy.standalone.control.istioapi import ROOT_NAMESPACE
from deploy.standalone.control.problems import Problem
from deploy.standalone.control.translate.attached import HttpPort, Share, cluster_name
from deploy.standalone.control.translate.frontends import HTTP, Frontend
from deploy.standalone.control.translate.merging import merge
from deploy.standalone.control.translate.routes import (
    configuration_name,
    route_configuration,
)
from deploy.standalone.control.translate.sight import PODS
from deploy.standalone.control.world import Name

#: Filters that have their place without being listed: all others come before them.
IMPLIED = ("envoy.filters.http.cors", "envoy.filters.http.router")
ADDING = {
    Operation.ADD,
    Operation.INSERT_FIRST,
    Operation.INSERT_BEFORE,
    Operation.INSERT_AFTER,
}
ACTIONS = {"route": "ROUTE", "redirect": "REDIRECT", "direct_response": "DIRECT_RESPONSE"}


@dataclass(slots=True)
class Bench:
    """Filters and routes on the way. made, http: by service and port, as without patches.

    filters, routes: those of services that patches are for; managers: what they set of
    their HttpConnectionManagers; clusters: the patches of their clusters.
    """

    made: Mapping[Name, Mapping[int, list[Any]]]
    http: Mapping[Name, Mapping[int, HttpPort]]
    problems: list[Problem]
    filters: dict[Name, dict[int, list[Any]]] = field(default_factory=dict)
    routes: dict[Name, dict[int, Any]] = field(default_factory=dict)
    managers: dict[Name, dict[int, Any]] = field(default_factory=dict)
    clusters: dict[Name, list[ConfigPatch]] = field(default_factory=dict)

    def apply(self, patch: ConfigPatch, frontend: Frontend) -> bool:
        """Apply a patch to a service; whether there was anything to apply it to."""
        if patch.apply_to is ApplyTo.CLUSTER:
            return self.on_clusters(patch, frontend)
        ports = [port for port in frontend.speaking(HTTP) if patch.match.port in {0, port}]
        change = self.changes.get(patch.apply_to, self.on_routes)
        return True in [change(patch, frontend.key, port) for port in ports]

    @property
    def changes(self) -> Mapping[ApplyTo, Callable[[ConfigPatch, Name, int], bool]]:
        """What is done before routes, by what is patched."""
        return {
            ApplyTo.HTTP_FILTER: self.on_filters,
            ApplyTo.NETWORK_FILTER: self.on_manager,
        }

    def apply_to_workloads(self, patch: ConfigPatch, key: Name) -> bool:
        """Apply a patch to a waypoint's filters for workloads, which have no routes."""
        change = self.changes.get(patch.apply_to)
        if change is None or patch.match.port or patch.match.chain:
            return False
        return change(patch, key, PODS)

    def on_filters(self, patch: ConfigPatch, key: Name, port: int) -> bool:
        """Apply a patch to a port's filters."""
        before = list(self.made.get(key, {}).get(port, ()))
        row = self.filters.setdefault(key, {}).setdefault(port, before)
        after = patched_filters(row, patch, configuration_name(port, key[1]))
        if after is not None:
            self.filters[key][port] = after
        return after is not None

    def on_manager(self, patch: ConfigPatch, key: Name, port: int) -> bool:
        """Apply a patch to a port's HttpConnectionManager."""
        if patch.match.chain not in {"", configuration_name(port, key[1])}:
            return False
        found = self.managers.setdefault(key, {}).setdefault(port, pb.HttpConnectionManager())
        value = pb.HttpConnectionManager()
        Filter.FromString(patch.value).typed_config.Unpack(value)
        merge(found, value)
        return True

    def on_clusters(self, patch: ConfigPatch, frontend: Frontend) -> bool:
        """Keep a patch for a service's clusters."""
        match = patch.match
        meant = match.service in {"", frontend.hostname}
        if not meant or (match.port and frontend.port(match.port) is None):
            return False
        self.clusters.setdefault(frontend.key, []).append(patch)
        return True

    def on_routes(self, patch: ConfigPatch, key: Name, port: int) -> bool:
        """Apply a patch to a port's routes."""
        found = self.routes.get(key, {}).get(port) or configured(key, port, self.http)
        applied = patch_routes(found, patch)
        if applied:
            self.routes.setdefault(key, {})[port] = found
        return applied


def in_order(found: Mapping[Name, EnvoyFilter]) -> list[EnvoyFilter]:
    """EnvoyFilters in the order in which they are applied."""

    def rank(each: EnvoyFilter) -> tuple[bool, int, str, str]:
        return each.namespace != ROOT_NAMESPACE, each.priority, each.name, each.namespace

    return sorted(found.values(), key=rank)


class Meant(NamedTuple):
    """What an EnvoyFilter is for: services, and by their keys those of waypoints
    themselves, whose filters are for workloads' own addresses.
    """

    made: EnvoyFilter
    frontends: tuple[Frontend, ...]
    waypoints: tuple[Name, ...]


def apply_envoy_filters(meant: Iterable[Meant], bench: Bench) -> None:
    """Apply them in their order, each to its services."""
    for each in meant:
        for patch in each.made.patches:
            applied = [bench.apply(patch, frontend) for frontend in each.frontends]
            applied += [bench.apply_to_workloads(patch, key) for key in each.waypoints]
            if applied and True not in applied:
                bench.problems.append(
                    patch.origin.notice(patch.path, "without effect: it matches nothing")
                )


def configured(
    key: Name, number: int, http: Mapping[Name, Mapping[int, HttpPort]]
) -> RouteConfiguration:
    """A port's routes without patches."""
    own = HttpPort((), Share(cluster_name(number, key[1]), 1))
    return route_configuration(key[1], number, http.get(key, {}).get(number, own))


def patched_filters(row: list[Any], patch: ConfigPatch, chain: str) -> list[Any] | None:
    """A chain of HttpFilters with a patch; None where there is nothing to apply it to."""
    match = patch.match
    at = next((i for i, each in enumerate(row) if each.name == match.filter), None)
    if match.chain not in {"", chain}:
        return None
    value = pb.HttpFilter.FromString(patch.value)
    if patch.operation in ADDING:
        place = place_of(patch.operation, match.filter, at, len(row))
        return None if place is None else [*row[:place], value, *row[place:]]
    if at is None:
        return None
    if patch.operation is Operation.REMOVE:
        return [*row[:at], *row[at + 1 :]]
    if patch.operation is Operation.MERGE:
        merged = pb.HttpFilter()
        merged.CopyFrom(row[at])
        merge(merged, value)
        value = merged
    return [*row[:at], value, *row[at + 1 :]]


def place_of(operation: Operation, anchor: str, at: int | None, length: int) -> int | None:
    """Where a filter goes; anchor: a filter's name, or none; at: its place; None: nowhere."""
    if operation is Operation.INSERT_FIRST:
        return 0
    if operation is Operation.INSERT_BEFORE and not anchor:
        return 0
    if operation is Operation.ADD or not anchor or anchor in IMPLIED:
        return length
    return None if at is None else at + (operation is Operation.INSERT_AFTER)


def patch_routes(configuration: RouteConfiguration, patch: ConfigPatch) -> bool:
    """Merge a patch into a RouteConfiguration, or its parts; whether there were any."""
    match = patch.match
    if match.configuration not in {"", configuration.name}:
        return False
    if patch.apply_to is ApplyTo.ROUTE_CONFIGURATION:
        merge(configuration, RouteConfiguration.FromString(patch.value))
        return True
    applied = False
    for host in configuration.virtual_hosts:
        if match.host not in {"", host.name} or (
            match.domain and match.domain not in host.domains
        ):
            continue
        if patch.apply_to is ApplyTo.VIRTUAL_HOST:
            merge(host, routes.VirtualHost.FromString(patch.value))
            applied = True
            continue
        value = routes.Route.FromString(patch.value)
        for route in host.routes:
            if is_meant(route, match, value):
                merge(route, value)
                applied = True
    return applied


def is_meant(route: Any, match: PatchMatch, value: Any) -> bool:
    """Whether a route is what a patch is for.

    One that says how requests are forwarded is for routes that forward them.
    """
    action = route.WhichOneof("action")
    if value.HasField("route") and action != "route":
        return False
    return match.route in {"", route.name} and match.action in {"", ACTIONS.get(action)}
