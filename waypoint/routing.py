"""From a request to what shall be done with it: pure, compiled once per push.

Envoy's RouteConfiguration semantics: the most specific virtual host by domain,
then its first route that matches.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from waypoint.errors import RouteError
from waypoint.layers.request import RequestHead
from waypoint.matching import HeaderMatch, QueryMatch, TextMatch, parse_query


@dataclass(frozen=True, slots=True)
class WeightedCluster:
    """A cluster's name, ``outbound|<port>||<hostname>``, and its share."""

    name: str
    weight: int


@dataclass(frozen=True, slots=True)
class Forward:
    """Send the request on.

    timeout: seconds from the whole request to the whole response; None: no limit.
    not_found: the status where the chosen cluster's name leads to nothing.
    """

    clusters: tuple[WeightedCluster, ...]
    timeout: float | None = None
    not_found: int = 503
    bounds: tuple[int, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        bounds = tuple(accumulate(cluster.weight for cluster in self.clusters))
        if not bounds or bounds[-1] <= 0:
            raise RouteError("weighted_clusters: the weights add up to 0")
        object.__setattr__(self, "bounds", bounds)

    def choose(self, drawn: float) -> int:
        """The index of the cluster for a number drawn from [0, 1)."""
        if len(self.clusters) == 1:
            return 0
        return bisect_right(self.bounds, int(drawn * self.bounds[-1]))


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """Answer without asking anybody."""

    status: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Route:
    """Conditions that must all hold, and what to do then; path None: any."""

    name: str
    action: Forward | DirectResponse
    path: TextMatch | None = None
    headers: tuple[HeaderMatch, ...] = ()
    query: tuple[QueryMatch, ...] = ()

    def accepts(self, head: RequestHead, path: bytes, query: bytes) -> bool:
        """Whether a request is this route's."""
        if self.path is not None and not self.path.test(path):
            return False
        if not all(condition.accepts(head) for condition in self.headers):
            return False
        if not self.query:
            return True
        parameters = parse_query(query)
        return all(condition.accepts(parameters) for condition in self.query)


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """Routes for some domains: exact, ``*.suffix``, ``prefix.*`` or ``*``."""

    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class Domains:
    """Virtual hosts by how their domains are written; longest wildcards first."""

    exact: dict[bytes, VirtualHost]
    suffixes: tuple[tuple[bytes, VirtualHost], ...]
    prefixes: tuple[tuple[bytes, VirtualHost], ...]
    default: VirtualHost | None

    def find(self, authority: bytes) -> VirtualHost | None:
        """The host for an authority in lower case, in Envoy's order.

        A wildcard stands for at least one character.
        """
        host = self.exact.get(authority)
        if host is not None:
            return host
        size = len(authority)
        for suffix, host in self.suffixes:
            if size > len(suffix) and authority.endswith(suffix):
                return host
        for prefix, host in self.prefixes:
            if size > len(prefix) and authority.startswith(prefix):
                return host
        return self.default


def longest_first(
    pairs: list[tuple[bytes, VirtualHost]],
) -> tuple[tuple[bytes, VirtualHost], ...]:
    """Wildcards in the order they are tried."""
    return tuple(sorted(pairs, key=lambda pair: -len(pair[0])))


def index_domains(hosts: Sequence[VirtualHost]) -> Domains:
    """Index hosts; raises RouteError for a domain that is unsound or claimed twice."""
    seen: dict[bytes, VirtualHost] = {}
    for host in hosts:
        for domain in host.domains:
            key = domain.lower().encode()
            if b"*" in key[1:-1] or key.count(b"*") > 1:
                raise RouteError(
                    f"virtual_hosts {host.name!r}: domain {domain!r} has * inside: "
                    "it may only be first or last"
                )
            if key in seen:
                raise RouteError(f"virtual_hosts {host.name!r}: domain {domain!r} is taken")
            seen[key] = host

    wild = {d: h for d, h in seen.items() if d != b"*"}
    return Domains(
        exact={d: h for d, h in wild.items() if b"*" not in d},
        suffixes=longest_first([(d[1:], h) for d, h in wild.items() if d[:1] == b"*"]),
        prefixes=longest_first([(d[:-1], h) for d, h in wild.items() if d[-1:] == b"*"]),
        default=seen.get(b"*"),
    )


@dataclass(frozen=True, slots=True, eq=False)
class RouteTable:
    """A RouteConfiguration, ready to match; two are the same only by identity."""

    name: str
    hosts: tuple[VirtualHost, ...]
    ignore_port: bool = False
    domains: Domains = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "domains", index_domains(self.hosts))

    def match(self, head: RequestHead) -> Route | None:
        """The route for a request, or None (then it's answered 404)."""
        authority = head.authority
        if self.ignore_port:
            name, colon, port = authority.rpartition(b":")
            authority = name if colon and not port.endswith(b"]") else authority
        host = self.domains.find(authority)
        if host is None:
            return None
        path, _, query = head.target.partition(b"?")
        return next((r for r in host.routes if r.accepts(head, path, query)), None)

    def cluster_names(self) -> frozenset[str]:
        """Every cluster that a route names."""
        actions = (route.action for host in self.hosts for route in host.routes)
        forwards = (action for action in actions if isinstance(action, Forward))
        return frozenset(c.name for forward in forwards for c in forward.clusters)


def default_table(cluster: str) -> RouteTable:
    """What applies where no routes are configured: everything to one cluster."""
    route = Route("default", Forward((WeightedCluster(cluster, 1),)))
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
    conditions = [f"path {route.path}"] if route.path else []
    conditions += [str(condition) for condition in (*route.headers, *route.query)]
    dump: dict[str, object] = {"name": route.name, "match": conditions}
    if isinstance(route.action, DirectResponse):
        return dump | {"direct_response": route.action.status}
    clusters = {cluster.name: cluster.weight for cluster in route.action.clusters}
    return dump | {"clusters": clusters, "timeout": route.action.timeout}
