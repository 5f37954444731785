"""Where connections go that aren't HTTP: by the server's name that TLS asks for.

Envoy's filter chains: an exact name before the longest ``*.suffix`` before chains that
ask for none. A connection that no chain takes is closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from waypoint.decode.fields import only, parsed
from waypoint.errors import RouteError
from waypoint.filters.rbac.decode import network_settings
from waypoint.filters.rbac.engine import Settings
from waypoint.filters.verdicts import Asked, Refusal
from waypoint.messages import Request
from waypoint.routing import Facts, Forward, Source, WeightedCluster

TYPE_URL = "type.googleapis.com/envoy.config.listener.v3.Listener"

RBAC_URL = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC"
#: Bytes have none.
NO_REQUEST = Request(b"", b"", b"", b"", ())

#: What may be set, per message.
LISTENER = {"name", "filter_chains", "stat_prefix", "metadata"}
CHAIN = {"name", "filter_chain_match", "filters", "metadata"}
MATCH = {"server_names"}
FILTER = {"name", "typed_config"}
PROXY = {"stat_prefix", "cluster", "weighted_clusters"}
WEIGHTED = {"clusters"}
CLUSTER_WEIGHT = {"name", "weight"}


class StreamChain(NamedTuple):
    """Where a connection goes, and what says first whether it may; in order."""

    forward: Forward
    access: tuple[Settings, ...] = ()

    def decide(self, source: Source, facts: Facts) -> tuple[Refusal | None, tuple[str, ...]]:
        """Why a connection is refused, or None, and what to count."""
        counts: tuple[str, ...] = ()
        for settings in self.access:
            verdict = settings.decide(Asked(NO_REQUEST, source, facts))
            counts += verdict.counts
            if isinstance(verdict, Refusal):
                return verdict, counts
        return None, counts


@dataclass(frozen=True, slots=True, eq=False)
class StreamTable:
    """Chains by the names that they take; suffixes with their dot, longest first."""

    exact: dict[str, StreamChain]
    suffixes: tuple[tuple[str, StreamChain], ...]
    default: StreamChain | None

    def find(self, name: str) -> StreamChain | None:
        """The chain for a server's name in lower case, empty when there is none."""
        found = self.exact.get(name) if name else None
        if found is not None:
            return found
        for suffix, chain in self.suffixes:
            if name.endswith(suffix) and len(name) > len(suffix):
                return chain
        return self.default

    @property
    def chains(self) -> list[StreamChain]:
        """All of them."""
        chains = [*self.exact.values(), *(chain for _, chain in self.suffixes)]
        return chains + ([self.default] if self.default is not None else [])

    @property
    def guarded(self) -> bool:
        """Whether no connection passes without being asked about."""
        return all(chain.access for chain in self.chains)

    def cluster_names(self) -> frozenset[str]:
        """Every cluster that a chain names."""
        forwards = [chain.forward for chain in self.chains]
        return frozenset(cluster.name for each in forwards for cluster in each.clusters)


#: What applies to chains that can't be honoured and have no predecessor.
CLOSED = StreamTable({}, (), None)


def decode_streams(value: bytes) -> StreamTable:
    """A Listener's bytes as a table; raises RouteError naming what can't be honoured."""
    message = parsed(listener_pb2.Listener, value)
    only(message, LISTENER, "")
    named: dict[str, StreamChain] = {}
    default: StreamChain | None = None
    for index, chain in enumerate(message.filter_chains):
        at = f"filter_chains[{index}]."
        only(chain, CHAIN, at)
        only(chain.filter_chain_match, MATCH, f"{at}filter_chain_match.")
        action = StreamChain(proxy_of(chain, at), access_of(chain, at))
        names = [name.lower() for name in chain.filter_chain_match.server_names]
        if not names:
            if default is not None:
                raise RouteError(f"{at}filter_chain_match: a second chain without names")
            default = action
        for name in names:
            if name in named or "*" in name.removeprefix("*."):
                raise RouteError(f"{at}filter_chain_match.server_names: {name!r}")
            named[name] = action
    exact = {name: action for name, action in named.items() if name[:1] != "*"}
    wild = [(name[1:], action) for name, action in named.items() if name[:1] == "*"]
    wild.sort(key=lambda pair: -len(pair[0]))
    return StreamTable(exact, tuple(wild), default)


def access_of(chain: listener_pb2.FilterChain, at: str) -> tuple[Settings, ...]:
    """The RBAC filters in front of a chain's last one; raises RouteError for others."""
    found = []
    for index, message in enumerate(chain.filters[:-1]):
        where = f"{at}filters[{index}]."
        only(message, FILTER, where)
        if message.typed_config.type_url != RBAC_URL:
            raise RouteError(f"{where}typed_config: not an RBAC, and not the last")
        found.append(network_settings(message.typed_config.value, f"{where}typed_config."))
    return tuple(found)


def proxy_of(chain: listener_pb2.FilterChain, at: str) -> Forward:
    """Where a chain's last filter leads; raises RouteError for others."""
    if not chain.filters:
        raise RouteError(f"{at}filters: none")
    last = f"{at}filters[{len(chain.filters) - 1}]."
    only(chain.filters[-1], FILTER, last)
    proxy = tcp_proxy_pb2.TcpProxy()
    if not chain.filters[-1].typed_config.Unpack(proxy):
        raise RouteError(f"{last}typed_config: not a TcpProxy")
    at = f"{last}typed_config."
    only(proxy, PROXY, at)
    if proxy.WhichOneof("cluster_specifier") == "cluster":
        return Forward((WeightedCluster(proxy.cluster, 1),))
    only(proxy.weighted_clusters, WEIGHTED, f"{at}weighted_clusters.")
    clusters = []
    for cluster in proxy.weighted_clusters.clusters:
        only(cluster, CLUSTER_WEIGHT, f"{at}weighted_clusters.clusters.")
        clusters.append(WeightedCluster(cluster.name, cluster.weight))
    return Forward(tuple(clusters))
