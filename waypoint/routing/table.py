"""From a request to what shall be done with it: pure, compiled once per push.

Envoy's RouteConfiguration semantics: the most specific virtual host by domain,
then its first route that matches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from waypoint.messages import Request
from waypoint.resilience.retry import DEFAULT_POLICY
from waypoint.routing.actions import Action, DirectResponse, Forward, Redirect, WeightedCluster
from waypoint.routing.conditions import ANYTHING, Match
from waypoint.routing.cors import Cors
from waypoint.routing.domains import Domains, index_domains, without_port
from waypoint.routing.edits import Edits
from waypoint.routing.index import RouteIndex
from waypoint.routing.notes import NO_NOTES, Notes
from waypoint.routing.source import NOBODY, Source


@dataclass(frozen=True, slots=True)
class Route:
    """Conditions, and what to do with requests that fulfil them.

    Edits: those of the route, its virtual host and the configuration, in the order
    in which they are made; a cluster's own come before. overrides: settings of filters
    for these requests, by the filters' names.
    """

    name: str
    action: Action
    match: Match = ANYTHING
    request_edits: tuple[Edits, ...] = ()
    response_edits: tuple[Edits, ...] = ()
    cors: Cors | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    #: Whether equal requests of two connections may become different ones, and whether
    #: responses of endpoints are edited.
    reads_connection: bool = field(init=False, compare=False, repr=False)
    edits_responses: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        clusters = self.action.clusters if isinstance(self.action, Forward) else ()
        below = [edits for c in clusters for edits in (c.request_edits, c.response_edits)]
        everything = (*self.request_edits, *self.response_edits, *below)
        reads = any(each.reads_connection for each in everything)
        responses = (*self.response_edits, *(c.response_edits for c in clusters))
        edits = isinstance(self.action, Forward) and any(responses)
        object.__setattr__(self, "reads_connection", reads)
        object.__setattr__(self, "edits_responses", edits)


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """Routes for some domains: exact, ``*.suffix``, ``prefix.*`` or ``*``."""

    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...]
    index: RouteIndex[Route] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", RouteIndex(self.routes))


@dataclass(frozen=True, slots=True, eq=False)
class RouteTable:
    """A RouteConfiguration, ready to match; two are the same only by identity.

    overrides: settings of filters for requests without a route.
    """

    name: str
    hosts: tuple[VirtualHost, ...]
    ignore_port: bool = False
    overrides: Mapping[str, Any] = field(default_factory=dict)
    domains: Domains[VirtualHost] = field(init=False, repr=False)
    #: Whether who sends a request has a say in its route, and whether chance has.
    reads_source: bool = field(init=False, repr=False)
    draws: bool = field(init=False, repr=False)
    #: Whether what filters find out has one: the route is looked for after them.
    reads_notes: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        hosts = ((host.name, host.domains, host) for host in self.hosts)
        object.__setattr__(self, "domains", index_domains(hosts))
        matches = [route.match for host in self.hosts for route in host.routes]
        object.__setattr__(self, "reads_source", any(match.source for match in matches))
        object.__setattr__(self, "reads_notes", any(match.notes for match in matches))
        object.__setattr__(self, "draws", any(match.fraction for match in matches))

    def match(
        self,
        request: Request,
        source: Source = NOBODY,
        drawn: float = 0.0,
        notes: Notes = NO_NOTES,
    ) -> Route | None:
        """The route for a request, or None (then it's answered 404).

        drawn: a number from [0, 1), for routes that take a share of requests only; notes:
        what filters found.
        """
        authority = request.authority
        host = self.domains.find(without_port(authority) if self.ignore_port else authority)
        if host is None:
            return None
        path, _, query = request.path.partition(b"?")
        for _, route, sure in host.index.candidates(path):
            if sure or route.match.accepts(request, path, query, source, drawn, notes=notes):
                return route
        return None

    def settings(self, route: Route | None) -> Mapping[str, Any]:
        """Those of filters, for requests of a route, or of none."""
        return self.overrides if route is None else route.overrides

    def cluster_names(self) -> frozenset[str]:
        """Every cluster that a route names, for mirrors too."""
        actions = (route.action for host in self.hosts for route in host.routes)
        forwards = [action for action in actions if isinstance(action, Forward)]
        named = {cluster.name for forward in forwards for cluster in forward.clusters}
        mirrors = {mirror.cluster for forward in forwards for mirror in forward.mirrors}
        return frozenset(named | mirrors)


def default_table(cluster: str) -> RouteTable:
    """What applies where no routes are configured: everything to one cluster."""
    share = WeightedCluster(cluster, 1)
    forward = Forward((share,), max_grpc_timeout=0.0, retry=DEFAULT_POLICY)
    route = Route("default", forward)
    return RouteTable("default", (VirtualHost("default", ("*",), (route,)),))


def dump_table(table: RouteTable) -> dict[str, object]:
    """A table as JSON, for people."""
    return {"name": table.name, "virtual_hosts": [dump_host(host) for host in table.hosts]}


def dump_host(host: VirtualHost) -> dict[str, object]:
    """A virtual host as JSON."""
    routes = [dump_route(route) for route in host.routes]
    return {"name": host.name, "domains": list(host.domains), "routes": routes}


def dump_route(route: Route) -> dict[str, object]:
    """A route as JSON."""
    dump: dict[str, object] = {"name": route.name, "match": route.match.conditions()}
    match route.action:
        case DirectResponse(status):
            return dump | {"direct_response": status}
        case Redirect(status):
            return dump | {"redirect": status}
        case Forward():
            clusters = {cluster.name: cluster.weight for cluster in route.action.clusters}
            return dump | {"clusters": clusters, "timeout": route.action.timeout}
