"""What connections may ask this waypoint for.

A target is a port of a service (or workload) whose waypoint is this one. The
kernel names it by a hash; what isn't in here is refused.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from waypoint.clusters import Cluster, Clusters, cluster_name
from waypoint.decode import TYPE_URL, decode_table
from waypoint.errors import RouteError
from waypoint.filters.chain import NO_CHAIN, Chain
from waypoint.filters.decode import TYPE_URL as FILTERS_URL
from waypoint.filters.decode import decode_chain
from waypoint.filters.refuse_all import refusing_chain
from waypoint.filters.registry import NO_KINDS, Kinds
from waypoint.routing import (
    DirectResponse,
    Route,
    RouteTable,
    VirtualHost,
    default_table,
)
from waypoint.streams import CLOSED, StreamTable, decode_streams
from waypoint.streams import TYPE_URL as STREAMS_URL
from ztunnel_compat.model import (
    AppProtocol,
    Extension,
    GatewayAddress,
    Service,
    Workload,
    network_of,
)
from ztunnel_compat.names import name_hash, target_hash
from ztunnel_compat.peer import FLOW_SERVICE, Peer
from ztunnel_compat.state import Changes, WorkloadState

logger = logging.getLogger(__name__)

#: An L4 engine may hear of a push later than we do: what left us stays served
#: for so many seconds.
GRACE = 10.0
#: Ports of workloads that connections are made to directly, remembered at most.
WORKLOAD_TARGETS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A port that this waypoint serves.

    name: a service's key or a workload's uid; source: the configuration that table
    was made of; streams: what applies to what isn't HTTP, or None: the port's own
    cluster; stream_source: as source; chain: filters before the routes, and
    filter_source: as source; generation: counts the tables of this target;
    error: why newer configuration is not in force, or empty; clusters: by the names in
    the tables, and under none the port's own.
    """

    name: str
    port: int
    protocol: AppProtocol
    table: RouteTable
    clusters: dict[str, Cluster]
    source: Extension | None = None
    streams: StreamTable | None = None
    stream_source: Extension | None = None
    chain: Chain = NO_CHAIN
    filter_source: Extension | None = None
    generation: int = 1
    error: str = ""

    def stream_cluster(self, name: str, drawn: float) -> Cluster | None:
        """Where bytes go that aren't HTTP, or None: nowhere.

        name: of the server that TLS asks for, or empty; drawn: from [0, 1).
        """
        if self.streams is None:
            return self.clusters[""]
        chain = self.streams.find(name)
        return self.clusters[chain.clusters[chain.choose(drawn)].name] if chain else None


def extension(service: Service, name: str) -> Extension | None:
    """A service's extension of a name."""
    return next((e for e in service.extensions if e.name == name), None)


def compile_streams(
    source: Extension | None, old: Target | None
) -> tuple[StreamTable | None, str]:
    """What applies to what isn't HTTP, and what is wrong with it; see Targets.compile."""
    if source is None:
        return None, ""
    try:
        if source.type_url != STREAMS_URL:
            raise RouteError(f"holds {source.type_url!r}, not {STREAMS_URL!r}")
        return decode_streams(source.value), ""
    except RouteError as error:
        return (old.streams if old and old.streams else CLOSED), str(error)


def compile_filters(
    source: Extension | None, old: Target | None, kinds: Kinds
) -> tuple[Chain, str]:
    """The filters before the routes, and what is wrong with them; see Targets.compile."""
    if source is None:
        return NO_CHAIN, ""
    try:
        if source.type_url != FILTERS_URL:
            raise RouteError(f"holds {source.type_url!r}, not {FILTERS_URL!r}")
        return decode_chain(source.value, kinds), ""
    except RouteError as error:
        kept = old is not None and old.filter_source is not None
        return (old.chain if old is not None and kept else refusing_chain()), str(error)


def refusing_table(name: str) -> RouteTable:
    """What applies to routes that can't be honoured and have no predecessor.

    Sending everything to the service could pass what a route was to stop.
    """
    route = Route("invalid", DirectResponse(500, b"route configuration rejected\n"))
    return RouteTable(name, (VirtualHost("invalid", ("*",), (route,)),))


class Targets:
    """The targets of one waypoint, by the hash the kernel has for each.

    namespace and gateway name the service that this waypoint is; network: whose
    addresses clients ask for; now gives seconds, only ever growing; kinds: the filters
    that there are.
    """

    def __init__(
        self,
        *,
        state: WorkloadState,
        clusters: Clusters,
        namespace: str,
        gateway: str,
        network: str = "",
        now: Callable[[], float],
        kinds: Kinds = NO_KINDS,
    ) -> None:
        self.state = state
        self.kinds = kinds
        self.clusters = clusters
        self.namespace = namespace
        self.gateway = gateway
        self.network = network
        self.now = now
        self.by_hash: dict[int, Target] = {}
        #: Service key → hashes of its targets.
        self.by_service: dict[str, set[int]] = {}
        #: Hash → when it is no longer served.
        self.leaving: dict[int, float] = {}
        self.workloads: OrderedDict[int, Target] = OrderedDict()

    def is_mine(self, waypoint: GatewayAddress | None, namespace: str) -> bool:
        """Whether a resource of this namespace names this waypoint."""
        if waypoint is None:
            return False
        service = self.state.resolve_waypoint(waypoint, namespace)
        if service is None:
            return False
        return (service.namespace, service.name) == (self.namespace, self.gateway)

    def apply(self, changes: Changes) -> None:
        """Take over what changed in the state."""
        self.clusters.refresh(changes.services, changes.workloads)
        keys = changes.services
        if any(self.is_gateway(key) for key in keys):
            # What names this waypoint by address resolves anew.
            keys = frozenset(s.key for s in self.state.services()) | keys
        for key in keys:
            self.update_service(key)
        for number, target in list(self.workloads.items()):
            if target.name in changes.workloads and not self.serves_workload(target.name):
                self.release(self.workloads.pop(number))

    def is_gateway(self, key: str) -> bool:
        """Whether this is the key of this waypoint's own service."""
        namespace, _, hostname = key.partition("/")
        return namespace == self.namespace and hostname.partition(".")[0] == self.gateway

    def update_service(self, key: str) -> None:
        """Make a service's targets what the state says now."""
        service = self.state.service(key)
        wanted: set[int] = set()
        if service is not None and self.is_mine(service.waypoint, service.namespace):
            name = name_hash(key)
            for port in service.ports:
                number = target_hash(name, port.service_port)
                wanted.add(number)
                self.leaving.pop(number, None)
                self.put(number, service, port.service_port, port.app_protocol)
        for number in self.by_service.get(key, set()) - wanted:
            self.leaving.setdefault(number, self.now() + GRACE)
        if wanted:
            self.by_service[key] = wanted
        else:
            self.by_service.pop(key, None)

    def put(self, number: int, service: Service, port: int, protocol: AppProtocol) -> None:
        """Set one target, keeping its table while its configuration is the same."""
        old = self.by_hash.get(number)
        name = f"inbound-vip|{port}|http|{service.hostname}"
        source = extension(service, name)
        streams_name = f"inbound-vip|{port}|tcp|{service.hostname}"
        stream_source = extension(service, streams_name)
        filters_name = f"inbound-vip|{port}|filters|{service.hostname}"
        filter_source = extension(service, filters_name)
        if (
            old is not None
            and (old.source, old.stream_source) == (source, stream_source)
            and old.filter_source == filter_source
            and old.protocol is protocol
        ):
            return
        table, error = self.compile(service, port, source, old)
        if error:
            logger.error("routes %s of %s: %s", name, service.key, error)
        streams, stream_error = compile_streams(stream_source, old)
        if stream_error:
            logger.error("routes %s of %s: %s", streams_name, service.key, stream_error)
        chain, filter_error = compile_filters(filter_source, old, self.kinds)
        if filter_error:
            logger.error("filters %s of %s: %s", filters_name, service.key, filter_error)
        self.by_hash[number] = Target(
            name=service.key,
            port=port,
            protocol=protocol,
            table=table,
            clusters=self.use(service, port, table, streams, chain),
            source=source,
            streams=streams,
            stream_source=stream_source,
            chain=chain,
            filter_source=filter_source,
            generation=old.generation + 1 if old else 1,
            error="; ".join(filter(None, (error, stream_error, filter_error))),
        )
        if old is not None:
            self.release(old)

    def compile(
        self, service: Service, port: int, source: Extension | None, old: Target | None
    ) -> tuple[RouteTable, str]:
        """The table for a configuration, and what is wrong with it, or nothing.

        Configuration that can't be honoured leaves the last good one in force.
        """
        if source is None:
            return default_table(cluster_name(service.hostname, port)), ""
        try:
            if source.type_url != TYPE_URL:
                raise RouteError(f"holds {source.type_url!r}, not {TYPE_URL!r}")
            return decode_table(source.value, self.kinds), ""
        except RouteError as error:
            return old.table if old else refusing_table(source.name), str(error)

    def use(
        self,
        service: Service,
        port: int,
        table: RouteTable,
        streams: StreamTable | None,
        chain: Chain,
    ) -> dict[str, Cluster]:
        """The clusters of both tables and of filters, and under no name the target's own."""
        own = self.clusters.use(service.namespace, cluster_name(service.hostname, port))
        names = table.cluster_names() | chain.clusters
        if streams is not None:
            names |= streams.cluster_names()
        used = {name: self.clusters.use(service.namespace, name) for name in names}
        return {"": own, **used}

    def release(self, target: Target) -> None:
        """A target was replaced or dropped."""
        for cluster in target.clusters.values():
            self.clusters.drop(cluster)

    def find(self, peer: Peer) -> Target | None:
        """The target that a connection was made for, or None: not ours."""
        target = self.by_hash.get(peer.target) or self.workloads.get(peer.target)
        if target is not None or peer.flags & FLOW_SERVICE:
            return target
        # A workload may be asked for any port, so its targets are made on demand:
        # the hash is an XOR, which the port undoes.
        workload = self.state.workload_by_hash(target_hash(peer.target, peer.original_port))
        if workload is None or not self.serves_workload(workload.uid):
            return None
        return self.put_workload(peer.target, workload, peer.original_port)

    def asked(self, address: bytes, port: int) -> tuple[int, int] | None:
        """The hash of what an address and port stand for, if it is of this waypoint.

        address: packed, 4 or 16 bytes, never mapped. Beside it FLOW_SERVICE, or 0 for a
        workload: what the kernel says of a connection that it redirects.
        """
        for service in reversed(self.state.services_at(self.network, address)):
            number = target_hash(name_hash(service.key), port)
            if number in self.by_hash:
                return number, FLOW_SERVICE
        workload = self.state.workload_at(self.network, address)
        if workload is not None and self.serves_workload(workload.uid):
            return target_hash(name_hash(workload.uid), port), 0
        return self.in_range(address, port)

    def in_range(self, address: bytes, port: int) -> tuple[int, int] | None:
        """What the longest range around an address stands for."""
        found: tuple[int, int] | None = None
        for key in self.by_service:
            service = self.state.service(key)
            number = target_hash(name_hash(key), port)
            for place in service.addresses if service is not None else ():
                if (
                    place.range is not None
                    and place.network == self.network
                    and network_of(address, place.range[1]) == place.range[0]
                    and number in self.by_hash
                    and (found is None or found[0] < place.range[1])
                ):
                    found = place.range[1], number
        return None if found is None else (found[1], FLOW_SERVICE)

    def put_workload(self, number: int, workload: Workload, port: int) -> Target:
        """Remember a workload's port as a target."""
        name = f"{workload.uid}:{port}"
        target = Target(
            name=workload.uid,
            port=port,
            protocol=AppProtocol.UNKNOWN,
            table=default_table(name),
            clusters={key: self.clusters.use_workload(workload, port) for key in ("", name)},
        )
        self.workloads[number] = target
        if len(self.workloads) > WORKLOAD_TARGETS:
            self.release(self.workloads.popitem(last=False)[1])
        return target

    def serves_workload(self, uid: str) -> bool:
        """Whether a workload names this waypoint."""
        workload = self.state.workload(uid)
        return workload is not None and self.is_mine(workload.waypoint, workload.namespace)

    def expire(self) -> list[int]:
        """Drop what has been leaving for long enough; the hashes that went."""
        now = self.now()
        gone = [number for number, when in self.leaving.items() if when <= now]
        for number in gone:
            del self.leaving[number]
            self.release(self.by_hash.pop(number))
        return gone

    def errors(self) -> dict[str, str]:
        """Configuration that is not in force: target → why."""
        return {f"{t.name}:{t.port}": t.error for t in self.by_hash.values() if t.error}
