"""What connections may ask this waypoint for.

A target is a port of a service (or workload) whose waypoint is this one. The
kernel names it by a hash; what isn't in here is refused.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from waypoint.clusters import Cluster, Clusters, cluster_name
from waypoint.compiled import (
    compile_filters,
    compile_streams,
    compile_table,
    extension,
)
from waypoint.filters.chain import NO_CHAIN, Chain
from waypoint.filters.plugin.filter import PluginFilter
from waypoint.filters.plugin.spec import PluginSpec
from waypoint.filters.rbac.engine import Rbac
from waypoint.filters.registry import NO_KINDS, Kinds
from waypoint.routing import (
    Forward,
    RouteTable,
    Source,
    WeightedCluster,
    default_table,
)
from waypoint.routing.defaults import with_defaults
from waypoint.streams import StreamChain, StreamTable
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

#: An L4 engine may hear of a push later than we do. So many seconds in which the control
#: plane is heard, connections to what left us go on; longer than an engine's back-off.
GRACE = 10.0
#: And so many, further ones are served as before: an agent that keeps crashing is away for
#: up to 5 minutes in Kubernetes, and its kernel goes on with what it knew.
MEMORY = 360.0
STAYS = math.inf
#: Under which the waypoint's own service has what holds for workloads' own addresses.
POD_FILTERS = "inbound-pod|filters"
POD_STREAMS = "inbound-pod|tcp"
#: Ports of workloads that connections are made to directly, remembered at most.
WORKLOAD_TARGETS = 4096


#: Bytes go to the port's own cluster, where nothing else is said.
OWN = StreamChain(Forward((WeightedCluster("", 1),)))


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A port that this waypoint serves.

    name: a service's key or a workload's uid; source: the configuration that table
    was made of; streams: what applies to what isn't HTTP, or None: the port's own
    cluster; stream_source: as source; chain: filters before the routes, and
    filter_source: as source; generation: counts the tables of this target;
    error: why newer configuration is not in force, or empty; clusters: by the names in
    the tables, and under none the port's own; identity: the waypoint's.
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
    identity: str = ""

    @property
    def takes_bytes(self) -> bool:
        """Whether what isn't HTTP may pass: it meets no filter for requests, so only where
        there are none, or policies alone, which are there for bytes too.
        """
        policies = all(isinstance(placed.filter, Rbac) for placed in self.chain.filters)
        guarded = self.streams is not None and self.streams.guarded
        return not self.chain.filters or (policies and guarded)

    @property
    def expects_http(self) -> bool:
        """Whether somebody wrote routes or filters for requests, and nothing for bytes.

        Then a client that says nothing hasn't asked yet; elsewhere it may wait for a
        server that speaks first.
        """
        return not self.takes_bytes or (self.source is not None and self.streams is None)

    def stream_chain(self, name: str, source: Source) -> StreamChain | None:
        """What applies to bytes that aren't HTTP, or None: nothing, they go nowhere.

        name: of the server that TLS asks for, or empty.
        """
        return OWN if self.streams is None else self.streams.find(name, source.namespace)

    def stream_cluster(self, chain: StreamChain, drawn: float) -> Cluster:
        """Where they go, then. drawn: from [0, 1)."""
        return self.clusters[chain.forward.clusters[chain.forward.choose(drawn)].name]


class Targets:
    """The targets of one waypoint, by the hash the kernel has for each.

    namespace and gateway name the service that this waypoint is; network: whose
    addresses clients ask for; now gives the seconds in which the control plane was heard;
    kinds: the filters that there are; identity: the waypoint's own.
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
        identity: str = "",
    ) -> None:
        self.state = state
        self.kinds = kinds
        self.identity = identity
        self.clusters = clusters
        self.namespace = namespace
        self.gateway = gateway
        self.network = network
        self.now = now
        self.by_hash: dict[int, Target] = {}
        #: Service key → hashes of its targets.
        self.by_service: dict[str, set[int]] = {}
        #: Hash → when it left.
        self.leaving: dict[int, float] = {}
        self.workloads: OrderedDict[int, Target] = OrderedDict()
        #: Those that name this waypoint, or did: uid → when it left, or STAYS.
        self.named: dict[str, float] = {}
        #: What holds for all of those.
        self.pods = Target("", 0, AppProtocol.UNKNOWN, RouteTable("", ()), {})

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
        keys, uids = changes.services, changes.workloads
        own = next((key for key in keys if self.is_gateway(key)), None)
        if own is not None:
            # What names this waypoint by address resolves anew.
            keys = frozenset(s.key for s in self.state.services()) | keys
            uids = frozenset(w.uid for w in self.state.workloads()) | uids
            self.update_pods(self.state.service(own))
        for key in keys:
            self.update_service(key)
        self.update_workloads(uids)

    def update_workloads(self, uids: frozenset[str]) -> None:
        """Take over which workloads name this waypoint now."""
        for uid in uids:
            workload = self.state.workload(uid)
            if workload is None:
                self.named.pop(uid, None)
            elif self.is_mine(workload.waypoint, workload.namespace):
                self.named[uid] = STAYS
            elif self.named.get(uid) == STAYS:
                self.named[uid] = self.now()
        for number, target in list(self.workloads.items()):
            if target.name in uids:
                self.note_leaving(number, target.name)
                if not self.serves_workload(target.name):
                    self.release(self.workloads.pop(number))

    def note_leaving(self, number: int, uid: str) -> None:
        """Have the target of a workload's port leave with the workload, or stay."""
        if (left := self.named.get(uid, STAYS)) < STAYS:
            self.leaving[number] = left
        else:
            self.leaving.pop(number, None)

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
            self.leaving.setdefault(number, self.now())
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
        own = cluster_name(service.hostname, port)
        table, error = compile_table(own, source, old, self.kinds)
        if error:
            logger.error("routes %s of %s: %s", name, service.key, error)
        streams, stream_error = compile_streams(stream_source, old)
        if stream_error:
            logger.error("routes %s of %s: %s", streams_name, service.key, stream_error)
        chain, filter_error = compile_filters(filter_source, old, self.kinds)
        if filter_error:
            logger.error("filters %s of %s: %s", filters_name, service.key, filter_error)
        table = with_defaults(table, chain.defaults)
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
            identity=self.identity,
        )
        if old is not None:
            self.release(old)

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
        """The target that a connection is for, as it is now, or None: not ours (any more)."""
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

    def update_pods(self, own: Service | None) -> None:
        """Take over what holds for workloads' own addresses; own: the waypoint's service.

        Connections that are there get it too: their targets are made anew.
        """
        old = self.pods
        filters = extension(own, POD_FILTERS) if own is not None else None
        streams = extension(own, POD_STREAMS) if own is not None else None
        if (filters, streams) == (old.filter_source, old.stream_source):
            return
        chain, error = compile_filters(filters, old, self.kinds)
        table, stream_error = compile_streams(streams, old)
        for name, wrong in ((POD_FILTERS, error), (POD_STREAMS, stream_error)):
            if wrong:
                logger.error("%s of %s: %s", name, self.gateway, wrong)
        self.pods = replace(
            old,
            chain=chain,
            filter_source=filters,
            streams=table,
            stream_source=streams,
            error="; ".join(filter(None, (error, stream_error))),
        )
        for number, target in list(self.workloads.items()):
            workload = self.state.workload(target.name)
            if workload is not None:
                self.release(self.workloads.pop(number))
                self.put_workload(number, workload, target.port)

    def put_workload(self, number: int, workload: Workload, port: int) -> Target:
        """Remember a workload's port as a target."""
        name = f"{workload.uid}:{port}"
        # Whatever name the listener has for it, bytes go to the workload itself.
        names = {"", name}
        if self.pods.streams is not None:
            names |= self.pods.streams.cluster_names()
        own = {each: self.clusters.use_workload(workload, port) for each in names}
        asked = self.pods.chain.clusters
        target = replace(
            self.pods,
            name=workload.uid,
            port=port,
            table=with_defaults(default_table(name), self.pods.chain.defaults),
            clusters=own | {n: self.clusters.use(workload.namespace, n) for n in asked},
            identity=self.identity,
        )
        self.workloads[number] = target
        self.note_leaving(number, workload.uid)
        if len(self.workloads) > WORKLOAD_TARGETS:
            oldest, dropped = self.workloads.popitem(last=False)
            self.leaving.pop(oldest, None)
            self.release(dropped)
        return target

    def serves_workload(self, uid: str) -> bool:
        """Whether a workload names this waypoint, or did and a node may not know better."""
        return uid in self.named

    def expire(self) -> list[int]:
        """Drop what left long ago; hashes of what connections shouldn't be kept to."""
        now = self.now()
        over = [number for number, when in self.leaving.items() if when + GRACE <= now]
        for number in over:
            if self.leaving[number] + MEMORY <= now:
                del self.leaving[number]
                holder = self.by_hash if number in self.by_hash else self.workloads
                self.release(holder.pop(number))
        for uid in [uid for uid, when in self.named.items() if when + MEMORY <= now]:
            del self.named[uid]
        return over

    def plugins(self) -> set[PluginSpec]:
        """The plug-ins that any target's filters have."""
        return {
            placed.filter.spec
            for target in (self.pods, *self.by_hash.values())
            for placed in target.chain.filters
            if isinstance(placed.filter, PluginFilter)
        }

    def errors(self) -> dict[str, str]:
        """Configuration that is not in force: target → why."""
        found = {f"{t.name}:{t.port}": t.error for t in self.by_hash.values() if t.error}
        return found | ({"pods": self.pods.error} if self.pods.error else {})
