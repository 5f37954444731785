"""Where connections go that aren't HTTP: by who makes them, and the name that TLS asks for.

Envoy's filter chains: an exact name before the longest ``*.suffix`` before chains that
ask for none. Chains may be for some namespaces' connections, by the metadata
``tandem.io/source: {namespaces: [...]}``; those decide alone for them. A connection that no
chain takes is closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from google.protobuf.struct_pb2 import ListValue

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

#: In the place of a namespace, and of a server's name.
EVERYONE = ""
DEFAULT = ""
#: Metadata of chains that are for some namespaces' connections.
SOURCE = "tandem.io/source"

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
class Names:
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


@dataclass(frozen=True, slots=True, eq=False)
class StreamTable:
    """Chains for everyone, and for namespaces that have their own."""

    everyone: Names
    namespaces: Mapping[str, Names] = field(default_factory=dict)

    def find(self, name: str, namespace: str) -> StreamChain | None:
        """The chain for a server's name, as Names has it, and for the namespace that the
        client was proven to be of, empty when that isn't known.
        """
        return self.namespaces.get(namespace, self.everyone).find(name)

    @property
    def chains(self) -> list[StreamChain]:
        """All of them."""
        groups = (self.everyone, *self.namespaces.values())
        return [chain for names in groups for chain in names.chains]

    @property
    def guarded(self) -> bool:
        """Whether no connection passes without being asked about."""
        return all(chain.access for chain in self.chains)

    def cluster_names(self) -> frozenset[str]:
        """Every cluster that a chain names."""
        forwards = [chain.forward for chain in self.chains]
        return frozenset(cluster.name for each in forwards for cluster in each.clusters)


#: What applies to chains that can't be honoured and have no predecessor.
CLOSED = StreamTable(Names({}, (), None))


def decode_streams(value: bytes) -> StreamTable:
    """A Listener's bytes as a table; raises RouteError naming what can't be honoured."""
    message = parsed(listener_pb2.Listener, value)
    only(message, LISTENER, "")
    found: dict[str, dict[str, StreamChain]] = {EVERYONE: {}}
    for index, chain in enumerate(message.filter_chains):
        at = f"filter_chains[{index}]."
        only(chain, CHAIN, at)
        only(chain.filter_chain_match, MATCH, f"{at}filter_chain_match.")
        action = StreamChain(proxy_of(chain, at), access_of(chain, at))
        names = [name.lower() for name in chain.filter_chain_match.server_names]
        for namespace in namespaces_of(chain, at):
            put(found.setdefault(namespace, {}), names, action, at)
    everyone = found.pop(EVERYONE)
    return StreamTable(indexed(everyone), {key: indexed(own) for key, own in found.items()})


def put(named: dict[str, StreamChain], names: list[str], action: StreamChain, at: str) -> None:
    """Add a chain by its names, or as the one that needs none; raises RouteError."""
    if not names:
        if DEFAULT in named:
            raise RouteError(f"{at}filter_chain_match: a second chain without names")
        named[DEFAULT] = action
    for name in names:
        if not name or name in named or "*" in name.removeprefix("*."):
            raise RouteError(f"{at}filter_chain_match.server_names: {name!r}")
        named[name] = action


def indexed(named: dict[str, StreamChain]) -> Names:
    """Chains by their names, to be found."""
    default = named.pop(DEFAULT, None)
    exact = {name: action for name, action in named.items() if name[:1] != "*"}
    wild = [(name[1:], action) for name, action in named.items() if name[:1] == "*"]
    wild.sort(key=lambda pair: -len(pair[0]))
    return Names(exact, tuple(wild), default)


def namespaces_of(chain: listener_pb2.FilterChain, at: str) -> tuple[str, ...]:
    """Whose connections a chain is for; raises RouteError for what says so wrongly."""
    source = chain.metadata.filter_metadata.get(SOURCE)
    if source is None:
        return (EVERYONE,)
    values = dict(source.items())
    names = values.get("namespaces")
    items = list(names) if isinstance(names, ListValue) else []
    found = [item for item in items if isinstance(item, str) and item]
    if not found or found != items or len(values) > 1:
        shown = " ".join(str(source).split())
        raise RouteError(f"{at}metadata[{SOURCE}]: {shown} isn't a list of namespaces")
    return tuple(dict.fromkeys(found))


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
