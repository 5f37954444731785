"""Clusters: what routes name, and the endpoints behind it.

A cluster is ``outbound|<port>||<hostname>``, a port of a service. It follows the
mesh's state: endpoints come and go while routes keep pointing at it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from waypoint.balance import Balance, balanced
from waypoint.pool import Endpoint
from ztunnel_compat.model import HealthPolicy, Service, Workload, WorkloadStatus
from ztunnel_compat.state import WorkloadState

NOBODY: Balance[Endpoint] = Balance((), None)


class Cluster:
    """A destination by name; known: the name leads to a service or workload."""

    __slots__ = ("balance", "hostname", "known", "name", "namespace", "port", "users")

    def __init__(self, namespace: str, name: str, port: int, hostname: str) -> None:
        self.namespace = namespace
        self.name = name
        self.port = port
        self.hostname = hostname
        self.known = False
        self.balance = NOBODY
        #: How many route tables name it.
        self.users = 0


def cluster_name(hostname: str, port: int) -> str:
    """The name that routes have for a service's port."""
    return f"outbound|{port}||{hostname}"


def parse_cluster(name: str) -> tuple[int, str] | None:
    """(port, hostname) of a cluster's name, or None when it isn't of that form."""
    parts = name.split("|")
    if len(parts) != 4 or parts[0] != "outbound" or parts[2] or not parts[3]:
        return None
    port = int(parts[1]) if parts[1].isascii() and parts[1].isdigit() else 0
    return (port, parts[3]) if 0 < port < 65536 else None


class Clusters:
    """Every cluster in use, kept current."""

    def __init__(self, state: WorkloadState) -> None:
        self.state = state
        self.clusters: dict[tuple[str, str], Cluster] = {}
        #: What a cluster's endpoints follow: hostname (or uid) → its clusters.
        self.followers: dict[str, set[Cluster]] = {}
        self.endpoints: dict[tuple[str, int], Endpoint] = {}

    def use(self, namespace: str, name: str) -> Cluster:
        """The cluster of this name, as seen from a namespace; one more user."""
        cluster = self.clusters.get((namespace, name))
        if cluster is None:
            port, hostname = parse_cluster(name) or (0, "")
            cluster = self.add(Cluster(namespace, name, port, hostname))
        cluster.users += 1
        return cluster

    def use_workload(self, workload: Workload, port: int) -> Cluster:
        """A workload's own port, for connections made to the workload itself."""
        name = f"{workload.uid}:{port}"
        cluster = self.clusters.get(("", name))
        if cluster is None:
            cluster = self.add(Cluster("", name, port, workload.uid))
        cluster.users += 1
        return cluster

    def add(self, cluster: Cluster) -> Cluster:
        """Start to keep a cluster current."""
        self.clusters[cluster.namespace, cluster.name] = cluster
        self.followers.setdefault(cluster.hostname, set()).add(cluster)
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
        self.replace_endpoints(cluster, [])

    def refresh(self, services: Iterable[str], workloads: Iterable[str]) -> None:
        """Take over what changed: service keys and workload uids."""
        names = {key.partition("/")[2] for key in services} | set(workloads)
        for name in names:
            for cluster in self.followers.get(name, ()):
                self.rebuild(cluster)

    def rebuild(self, cluster: Cluster) -> None:
        """Look a cluster's endpoints up anew."""
        if not cluster.namespace:
            workload = self.state.workload(cluster.hostname)
            cluster.known = workload is not None
            places = [(workload, cluster.port)] if workload else []
        else:
            service = self.service(cluster)
            cluster.known = service is not None
            places = self.places(service, cluster.port) if service else []
        self.replace_endpoints(cluster, places)

    def service(self, cluster: Cluster) -> Service | None:
        """The service of a cluster: the route's own namespace first, else any."""
        services = self.state.services_on_host(cluster.hostname)
        own = [s for s in services if s.namespace == cluster.namespace]
        service = next(iter((*own, *services)), None)
        return service if service and service.port(cluster.port) else None

    def places(self, service: Service, port: int) -> list[tuple[Workload, int]]:
        """The endpoints that may get requests, and their target ports."""
        everyone = service.load_balancing.health_policy is HealthPolicy.ALLOW_ALL
        return [
            (workload, target)
            for workload in self.state.endpoints(service.key).values()
            if everyone or workload.status is WorkloadStatus.HEALTHY
            if (target := workload.target_port(service, port))
        ]

    def replace_endpoints(self, cluster: Cluster, places: list[tuple[Workload, int]]) -> None:
        """Swap a cluster's endpoints as a whole, keeping those that stay."""
        weighted: dict[Endpoint, int] = {}
        for workload, port in places:
            if workload.addresses:
                endpoint = self.endpoint(workload.addresses[0], port)
                weighted[endpoint] = workload.capacity
        before = cluster.balance.endpoints
        cluster.balance = balanced(list(weighted.items()))
        for endpoint in cluster.balance.endpoints:
            endpoint.users += 1
        for endpoint in before:
            endpoint.users -= 1
        for endpoint in {*before, *weighted}:
            if not endpoint.users:
                del self.endpoints[endpoint.host, endpoint.port]
                endpoint.retire()

    def endpoint(self, packed: bytes, port: int) -> Endpoint:
        """The endpoint at an address, with its pool."""
        key = (str(ipaddress.ip_address(packed)), port)
        endpoint = self.endpoints.get(key)
        if endpoint is None:
            endpoint = self.endpoints[key] = Endpoint(*key)
        return endpoint

    def dump(self) -> dict[str, object]:
        """Cluster → its endpoints, JSON-able."""
        return {
            f"{cluster.namespace}/{cluster.name}".lstrip("/"): {
                "known": cluster.known,
                "endpoints": {
                    e.label: {"idle": len(e.idle)} for e in cluster.balance.endpoints
                },
            }
            for cluster in self.clusters.values()
        }
