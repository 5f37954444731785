"""Clusters: what routes name, and the endpoints behind it.

A cluster is ``outbound|<port>|<subset>|<hostname>``, a port of a service or of some of
its workloads. It follows the mesh's state: endpoints come and go, and its settings
change, while routes keep pointing at it.
"""

from __future__ import annotations

import ipaddress
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping

from waypoint.balancing.locality import Place, distribution, failover_priority, preferred
from waypoint.cluster import Cluster, Spot
from waypoint.cluster_settings import DEFAULTS, ClusterSettings
from waypoint.compiled import extension
from waypoint.decode_cluster import TYPE_URL, decode_cluster
from waypoint.errors import RouteError
from ztunnel_compat.istio_labels import called
from ztunnel_compat.labels import workload_labels
from ztunnel_compat.model import (
    AppProtocol,
    Extension,
    HealthPolicy,
    Locality,
    Service,
    Workload,
    WorkloadStatus,
)
from ztunnel_compat.state import WorkloadState

__all__ = ["Cluster", "Clusters", "cluster_name", "parse_cluster"]

logger = logging.getLogger(__name__)


def cluster_name(hostname: str, port: int, subset: str = "") -> str:
    """The name that routes have for a service's port."""
    return f"outbound|{port}|{subset}|{hostname}"


def parse_cluster(name: str) -> tuple[int, str, str] | None:
    """(port, subset, hostname) of a cluster's name; None: it isn't of that form."""
    parts = name.split("|")
    if len(parts) != 4 or parts[0] != "outbound" or not parts[3]:
        return None
    port = int(parts[1]) if parts[1].isascii() and parts[1].isdigit() else 0
    return (port, parts[2], parts[3]) if 0 < port < 65536 else None


def spoken_http2(service: Service, port: int) -> bool | None:
    """What a service's port is spoken to in, as an Envoy waypoint chooses.

    A port that says HTTP gets HTTP/1.1 whatever the client speaks; one that says
    nothing gets what the client speaks.
    """
    known = service.port(port)
    if known is None or known.app_protocol is AppProtocol.UNKNOWN:
        return None
    return known.app_protocol in {AppProtocol.HTTP2, AppProtocol.GRPC}


class Clusters:
    """Every cluster in use, kept current.

    home: uid of the workload that this waypoint is, for what is near. now and drawn: a
    clock in seconds, only ever growing, and random numbers from [0, 1). later: see
    Cluster.
    """

    def __init__(
        self,
        state: WorkloadState,
        *,
        home: str = "",
        now: Callable[[], float] = time.monotonic,
        drawn: Callable[[], float] = random.random,
        later: Callable[[Callable[[], bool]], None] | None = None,
    ) -> None:
        self.state = state
        self.home = home
        self.now = now
        self.drawn = drawn
        self.later = later
        self.clusters: dict[tuple[str, str], Cluster] = {}
        #: What a cluster's endpoints follow: hostname (or uid) → its clusters.
        self.followers: dict[str, set[Cluster]] = {}

    def use(self, namespace: str, name: str) -> Cluster:
        """The cluster of this name, as seen from a namespace; one more user."""
        cluster = self.clusters.get((namespace, name))
        if cluster is None:
            port, subset, hostname = parse_cluster(name) or (0, "", "")
            cluster = self.add(namespace, name, port, hostname, subset)
        cluster.users += 1
        return cluster

    def use_workload(self, workload: Workload, port: int) -> Cluster:
        """A workload's own port, for connections made to the workload itself."""
        name = f"{workload.uid}:{port}"
        cluster = self.clusters.get(("", name))
        if cluster is None:
            cluster = self.add("", name, port, workload.uid)
        cluster.users += 1
        return cluster

    def add(
        self, namespace: str, name: str, port: int, hostname: str, subset: str = ""
    ) -> Cluster:
        """Start to keep a cluster current."""
        cluster = Cluster(
            namespace,
            name,
            port,
            hostname,
            subset=subset,
            now=self.now,
            drawn=self.drawn,
            later=self.later,
        )
        self.clusters[namespace, name] = cluster
        self.followers.setdefault(hostname, set()).add(cluster)
        self.rebuild(cluster)
        return cluster

    def drop(self, cluster: Cluster) -> None:
        """One user less; without any it is forgotten."""
        cluster.users -= 1
        if cluster.users:
            return
        del self.clusters[cluster.namespace, cluster.name]
        followers = self.followers[cluster.hostname]
        followers.discard(cluster)
        if not followers:
            del self.followers[cluster.hostname]
        cluster.place({}, None)

    def refresh(self, services: Iterable[str], workloads: Iterable[str]) -> None:
        """Take over what changed: service keys and workload uids."""
        names = {key.partition("/")[2] for key in services} | set(workloads)
        if self.home in names:
            # What is near is another now.
            names = set(self.followers)
        for name in names:
            for cluster in self.followers.get(name, ()):
                self.rebuild(cluster)

    def advance(self) -> None:
        """Called about once a second: intervals of outlier detection."""
        now = self.now()
        for cluster in self.clusters.values():
            cluster.outliers.advance(now)

    def rebuild(self, cluster: Cluster) -> None:
        """Look a cluster's settings and endpoints up anew."""
        if not cluster.namespace:
            workload = self.state.workload(cluster.hostname)
            cluster.known = workload is not None
            places = [(workload, cluster.port)] if workload else []
            cluster.place(spots(places, {}), None)
            return
        service = self.service(cluster)
        source = extension(service, cluster.name) if service else None
        cluster.known = service is not None and (not cluster.subset or source is not None)
        cluster.called = called(service)
        if service is None or not cluster.known:
            cluster.place({}, None)
            return
        cluster.speak(http2=spoken_http2(service, cluster.port))
        self.configure(cluster, source)
        refused = cluster.error and cluster.settings is DEFAULTS
        # Settings that were never understood may ask for what keeps requests from
        # whom they aren't meant for.
        workloads = [] if refused else self.places(service, cluster)
        cluster.place(*self.ranked(service, cluster.settings, workloads))

    def configure(self, cluster: Cluster, source: Extension | None) -> None:
        """Put settings in force; what can't be honoured leaves the last good ones."""
        if source == cluster.source:
            return
        cluster.source = source
        cluster.error = ""
        if source is None:
            cluster.configure(DEFAULTS)
            return
        try:
            if source.type_url != TYPE_URL:
                raise RouteError(f"holds {source.type_url!r}, not {TYPE_URL!r}")
            cluster.configure(decode_cluster(source.value))
        except RouteError as error:
            cluster.error = str(error)
            logger.error("cluster %s: %s", cluster.name, error)

    def service(self, cluster: Cluster) -> Service | None:
        """The service of a cluster: the route's own namespace first, else any."""
        services = self.state.services_on_host(cluster.hostname)
        own = [s for s in services if s.namespace == cluster.namespace]
        service = next(iter((*own, *services)), None)
        return service if service and service.port(cluster.port) else None

    def places(self, service: Service, cluster: Cluster) -> list[tuple[Workload, int]]:
        """The endpoints that may get requests, and their target ports."""
        everyone = service.load_balancing.health_policy is HealthPolicy.ALLOW_ALL
        return [
            (workload, target)
            for workload in self.state.endpoints(service.key).values()
            if everyone or workload.status is WorkloadStatus.HEALTHY
            if has_labels(workload, cluster.settings.subset)
            if (target := workload.target_port(service, cluster.port))
        ]

    def ranked(
        self,
        service: Service,
        settings: ClusterSettings,
        places: list[tuple[Workload, int]],
    ) -> tuple[dict[tuple[str, int], Spot], Mapping[Locality, int] | None]:
        """Endpoints with their priorities, and localities' weights where they count."""
        home = self.state.workload(self.home)
        client = Place.of(home, workload_labels(home)) if home else Place()
        setting = settings.locality
        weights: Mapping[Locality, int] | None = None
        if setting is not None and setting.distribute:
            sums: dict[Locality, int] = {}
            for workload, _ in places:
                sums[workload.locality] = sums.get(workload.locality, 0) + workload.capacity
            weights = distribution(setting, client, sums)
            setting = None
        elif settings.outlier is None:
            # Istio's: without outlier detection nothing would say when to fail over.
            setting = None
        ranks: dict[str, tuple[int, int]] = {}
        for workload, _ in places:
            there = Place.of(workload, workload_labels(workload))
            rank = preferred(service.load_balancing, client, there)
            if rank is not None:
                further = failover_priority(setting, client, there) if setting else 0
                ranks[workload.uid] = (rank, further)
        chosen = [(workload, port) for workload, port in places if workload.uid in ranks]
        return spots(chosen, ranks), weights

    def dump(self) -> dict[str, object]:
        """Cluster → what to know of it, JSON-able."""
        return {
            f"{cluster.namespace}/{cluster.name}".lstrip("/"): cluster.dump()
            for cluster in self.clusters.values()
        }


def has_labels(workload: Workload, wanted: Mapping[str, str]) -> bool:
    """Whether a workload is of a subset."""
    if not wanted:
        return True
    return wanted.items() <= workload_labels(workload).items()


def spots(
    places: list[tuple[Workload, int]], ranks: Mapping[str, tuple[int, int]]
) -> dict[tuple[str, int], Spot]:
    """By address and port; those without an address or of capacity 0 get nothing.

    ranks: by uid, where it matters; their order becomes priorities without gaps.
    """
    served = [(w, port) for w, port in places if w.addresses and w.capacity > 0]
    order = sorted({ranks.get(w.uid, (0, 0)) for w, _ in served})
    return {
        (str(ipaddress.ip_address(w.addresses[0])), port): Spot(
            w.capacity, order.index(ranks.get(w.uid, (0, 0))), w.locality, w
        )
        for w, port in served
    }
