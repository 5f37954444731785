"""Small meshes as values, and what must hold of programmed maps."""

from __future__ import annotations

import ipaddress
import random

from bpf.layout import EndpointKey, Family, PortKey, Transport
from bpf.maps import Maps
from daemon.content import EndpointSet
from daemon.desired import Desired
from daemon.reconcile import Group, Programmed, reconcile
from daemon.scope import Scope
from ztunnel_compat.model import (
    ApplicationTunnel,
    GatewayAddress,
    HealthPolicy,
    LoadBalancing,
    NamespacedHostname,
    NetworkAddress,
    NetworkMode,
    Service,
    ServicePort,
    Workload,
    WorkloadStatus,
)
from ztunnel_compat.names import name_hash
from ztunnel_compat.state import WorkloadState


def ip(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def hostname(name: str, namespace: str = "app") -> str:
    return f"{name}.{namespace}.svc.cluster.local"


def key_of(name: str, namespace: str = "app") -> str:
    return f"{namespace}/{hostname(name, namespace)}"


def uid_of(name: str, namespace: str = "app") -> str:
    return f"Kubernetes//Pod/{namespace}/{name}"


def by_name(name: str, namespace: str = "app") -> GatewayAddress:
    return GatewayAddress(NamespacedHostname(namespace, hostname(name, namespace)))


def by_address(address: str, network: str = "") -> GatewayAddress:
    return GatewayAddress(NetworkAddress(network, ip(address)))


def service(
    name: str,
    *vips: str,
    ports: dict[int, int] | None = None,
    waypoint: GatewayAddress | None = None,
    any_health: bool = False,
    network: str = "",
) -> Service:
    policy = HealthPolicy.ALLOW_ALL if any_health else HealthPolicy.ONLY_HEALTHY
    return Service(
        name=name,
        namespace="app",
        hostname=hostname(name),
        addresses=tuple(NetworkAddress(network, ip(vip)) for vip in vips),
        ports=tuple(ServicePort(p, t) for p, t in (ports or {80: 8080}).items()),
        waypoint=waypoint,
        load_balancing=LoadBalancing(health_policy=policy),
    )


def workload(
    name: str,
    *addresses: str,
    of: tuple[str, ...] = (),
    waypoint: GatewayAddress | None = None,
    healthy: bool = True,
    tunnel: int | None = None,
    host_network: bool = False,
    network: str = "",
    ports: dict[int, int] | None = None,
) -> Workload:
    mappings = tuple(ServicePort(p, t) for p, t in (ports or {}).items())
    return Workload(
        uid=uid_of(name),
        name=name,
        namespace="app",
        addresses=tuple(ip(a) for a in addresses),
        network=network,
        waypoint=waypoint,
        status=WorkloadStatus.HEALTHY if healthy else WorkloadStatus.UNHEALTHY,
        services={key_of(s): mappings for s in of},
        application_tunnel=ApplicationTunnel(tunnel) if tunnel else None,
        network_mode=NetworkMode.HOST_NETWORK if host_network else NetworkMode.STANDARD,
    )


def port_key(name: str, port: int, family: Family = Family.IPV4) -> PortKey:
    return PortKey(name_hash(key_of(name)), port, Transport.TCP, family)


def state_of(*resources: Service | Workload) -> WorkloadState:
    state = WorkloadState()
    state.apply(resources, ())
    return state


def desired_of(state: WorkloadState, enrolled: dict[int, str] | None = None) -> Desired:
    """Everything at once, as after a restart without adopted maps."""
    desired = Desired(state, "", {})
    scope = Scope()
    for cookie, uid in (enrolled or {}).items():
        desired.enroll(cookie, uid, scope)
    for item in list(state.services()):
        desired.service_changed(item.key, scope)
    for pod in list(state.workloads()):
        desired.workload_changed(pod.uid, scope)
    desired.settle(scope)
    return desired


def groups(programmed: Programmed, desired: Desired, scope: Scope | None = None) -> list[Group]:
    """Reconcile; without a scope everything that either side knows."""
    if scope is None:
        scope = desired.whole()
        scope.add(programmed.whole())
    return list(reconcile(programmed, desired.pods, desired.addresses, desired.sets, scope))


def sets_in(maps: Maps) -> dict[PortKey, EndpointSet]:
    """What a reader finds behind each record; fails on half a set."""
    found = {}
    for key, port in maps.ports.items():
        members = [
            maps.endpoints.get(EndpointKey(port.generation, i)) for i in range(port.count)
        ]
        assert None not in members, f"{key}: half a set of generation {port.generation}"
        found[key] = tuple(m for m in members if m is not None)
    return found


class RandomMesh:
    """A mesh that changes at random: few names and addresses, so that they collide."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.state = WorkloadState()

    def waypoint(self) -> GatewayAddress | None:
        choice = self.random.randrange(6)
        if choice < 2:
            return by_name(f"s{self.random.randrange(5)}")
        if choice == 2:
            return by_address(f"10.96.0.{self.random.randrange(6)}")
        return None

    def some(self, prefix: str, most: int) -> list[str]:
        count = self.random.randrange(3)
        return [f"{prefix}{n}" for n in self.random.sample(range(most), count)]

    def service(self) -> Service:
        name = f"s{self.random.randrange(5)}"
        vips = self.some("10.96.0.", 6) + self.some("fd00::", 4)
        ports = {p: p + 8000 for p in self.random.sample([80, 81, 443], 2)}
        return service(
            name,
            *vips,
            ports=ports,
            waypoint=self.waypoint(),
            any_health=self.random.random() < 0.2,
        )

    def workload(self) -> Workload:
        return workload(
            f"w{self.random.randrange(12)}",
            *self.some("10.96.0.", 8),
            *self.some("fd00:1::", 4),
            of=tuple(self.some("s", 5)),
            waypoint=self.waypoint(),
            healthy=self.random.random() < 0.8,
            tunnel=15088 if self.random.random() < 0.5 else None,
            host_network=self.random.random() < 0.1,
            network="" if self.random.random() < 0.9 else "other",
            ports={80: 9000 + self.random.randrange(3)},
        )

    def delta(self) -> tuple[list[Service | Workload], list[str]]:
        updated: list[Service | Workload] = [
            self.service() if self.random.random() < 0.4 else self.workload()
            for _ in range(self.random.randrange(1, 5))
        ]
        held = [s.key for s in self.state.services()] + [w.uid for w in self.state.workloads()]
        gone = self.random.sample(held, min(len(held), self.random.randrange(3)))
        return updated, gone
