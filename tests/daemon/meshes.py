"""Small meshes as values, and what must hold of programmed maps."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Mapping
from typing import Any

from bpf.addresses import mapped
from bpf.codecs import U64, split
from bpf.layout import (
    Address,
    AddressKey,
    Endpoint,
    EndpointKey,
    Family,
    Pod,
    Port,
    RangeKey,
)
from bpf.maps import Maps
from daemon import content, sets
from daemon.alias import ALWAYS
from daemon.desired import Desired
from daemon.locality import Vantage
from daemon.operations import Group
from daemon.policies.keeper import Keeper
from daemon.programmed import Programmed
from daemon.reconcile import reconcile
from daemon.scope import Scope
from ztunnel_compat.model import (
    ApplicationTunnel,
    GatewayAddress,
    HealthPolicy,
    LoadBalancing,
    LoadBalancingMode,
    Locality,
    NamespacedHostname,
    NetworkAddress,
    NetworkMode,
    Service,
    ServicePort,
    Workload,
    WorkloadStatus,
)
from ztunnel_compat.model import Scope as Shared
from ztunnel_compat.names import name_hash
from ztunnel_compat.policy_state import PolicyState
from ztunnel_compat.state import WorkloadState

HERE = Vantage(node="n1")


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
    namespace: str = "app",
    balancing: LoadBalancing | None = None,
    **options: Any,
) -> Service:
    policy = HealthPolicy.ALLOW_ALL if any_health else HealthPolicy.ONLY_HEALTHY
    return Service(
        name=name,
        namespace=namespace,
        hostname=hostname(name, namespace),
        addresses=tuple(virtual(vip, network) for vip in vips),
        ports=tuple(ServicePort(p, t) for p, t in (ports or {80: 8080}).items()),
        waypoint=waypoint,
        load_balancing=balancing or LoadBalancing(health_policy=policy),
        **options,
    )


def virtual(text: str, network: str = "") -> NetworkAddress:
    """An address, or with a slash a range."""
    address, _, length = text.partition("/")
    return NetworkAddress(network, ip(address), int(length) if length else None)


def balanced(mode: str, *preference: str) -> LoadBalancing:
    return LoadBalancing(tuple(Shared[p] for p in preference), LoadBalancingMode[mode])


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
    where: str = "",
    namespace: str = "app",
    **options: Any,
) -> Workload:
    """where: region/zone/subzone."""
    mappings = tuple(ServicePort(p, t) for p, t in (ports or {}).items())
    return Workload(
        uid=uid_of(name, namespace),
        name=name,
        namespace=namespace,
        addresses=tuple(ip(a) for a in addresses),
        locality=Locality(*where.split("/")) if where else Locality(),
        network=network,
        waypoint=waypoint,
        status=WorkloadStatus.HEALTHY if healthy else WorkloadStatus.UNHEALTHY,
        services={key_of(s): mappings for s in of},
        application_tunnel=ApplicationTunnel(tunnel) if tunnel else None,
        network_mode=NetworkMode.HOST_NETWORK if host_network else NetworkMode.STANDARD,
        **options,
    )


def port_key(name: str, port: int, family: Family = Family.IPV4) -> bytes:
    return sets.port_key(key_of(name), port, family)


def at(text: str, namespace: str = "") -> bytes:
    """Where an address is looked up."""
    return content.address_key(ip(text), name_hash(namespace) if namespace else 0)


def within(text: str, namespace: str = "") -> bytes:
    """Where a range is looked up."""
    address, _, length = text.partition("/")
    own = name_hash(namespace) if namespace else 0
    (key,) = content.range_keys((ip(address), int(length)), own)
    return key


def end(
    address: str, port: int, of: str, flags: int = 0, keep: int = ALWAYS, alias: int = 0
) -> Endpoint:
    """An endpoint; of: the name of its workload."""
    return Endpoint(mapped(ip(address)), port, flags, keep, alias, name_hash(uid_of(of)))


def ends(*endpoints: Endpoint) -> bytes:
    """A set."""
    return b"".join(e.pack() for e in endpoints)


def endpoints(packed: bytes) -> list[Endpoint]:
    """A set's endpoints."""
    return [Endpoint.unpack(raw) for raw in split(packed, Endpoint.SIZE)]


def addresses(entries: Mapping[bytes, bytes]) -> dict[AddressKey, Address]:
    return {AddressKey.unpack(k): Address.unpack(v) for k, v in entries.items()}


def ranges(entries: Mapping[bytes, bytes]) -> dict[RangeKey, Address]:
    return {RangeKey.unpack(k): Address.unpack(v) for k, v in entries.items()}


def pods(entries: Mapping[bytes, bytes]) -> dict[int, Pod]:
    return {int.from_bytes(k, "little"): Pod.unpack(v) for k, v in entries.items()}


def cookie(number: int) -> bytes:
    return U64.pack(number)


def state_of(*resources: Service | Workload) -> WorkloadState:
    state = WorkloadState()
    state.apply(resources, ())
    return state


def desired_of(
    state: WorkloadState, enrolled: dict[int, str] | None = None, vantage: Vantage = HERE
) -> Desired:
    """Everything at once, as after a restart without adopted maps."""
    desired = Desired(state, vantage, {})
    scope = Scope()
    for number, uid in (enrolled or {}).items():
        desired.enroll(number, uid, scope)
    for pod in list(state.workloads()):
        desired.workload_changed(pod.uid, scope)
    for item in list(state.services()):
        desired.service_changed(item.key, scope)
    desired.settle(scope)
    return desired


def push(
    state: WorkloadState,
    desired: Desired,
    *resources: Service | Workload,
    gone: tuple[str, ...] = (),
) -> Scope:
    """Take a delta in."""
    scope = Scope()
    changes = state.apply(resources, gone)
    for uid in changes.workloads:
        desired.workload_changed(uid, scope)
    for key in changes.services:
        desired.service_changed(key, scope)
    desired.settle(scope)
    return scope


def keeper_of(maps: Maps, state: WorkloadState, policies: PolicyState | None = None) -> Keeper:
    """What guards pods, with what the maps hold as an earlier process's."""
    return Keeper(
        maps,
        mesh=state,
        policies=PolicyState() if policies is None else policies,
        network="",
        set_chunks=4,
        live=lambda: [pod for _, pod in maps.pods.items()],
    )


def groups(programmed: Programmed, desired: Desired, scope: Scope | None = None) -> list[Group]:
    """Reconcile; without a scope everything that either side knows."""
    if scope is None:
        scope = desired.content.whole()
        scope.add(programmed.whole())
    return list(reconcile(programmed, desired.content, scope))


def sets_in(maps: Maps) -> dict[bytes, bytes]:
    """What a reader finds behind each record; fails on half a set."""
    found = {}
    for key, packed in maps.ports.packed_items():
        port = Port.unpack(packed)
        members = [
            maps.endpoints.get(EndpointKey(port.generation, i)) for i in range(port.count)
        ]
        assert None not in members, f"{key!r}: half a set of generation {port.generation}"
        found[key] = ends(*(m for m in members if m is not None))
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
        vips += self.random.sample(["10.96.0.0/30", "10.96.0.0/24", "fd00::/16", "::/0"], 1)
        ports = {p: p + 8000 for p in self.random.sample([80, 81, 443], 2)}
        modes = ["STRICT", "FAILOVER", "PASSTHROUGH", "UNSPECIFIED", "UNSPECIFIED"]
        balancing = balanced(self.random.choice(modes), "REGION", "NODE")
        return service(
            name,
            *vips[: self.random.randrange(1, 4)],
            ports=ports,
            waypoint=self.waypoint(),
            any_health=self.random.random() < 0.2,
            namespace=self.random.choice(["app", "app", "shop"]),
            balancing=balancing if self.random.random() < 0.5 else None,
            namespace_visible_only=self.random.random() < 0.2,
            canonical=self.random.random() < 0.2,
            affinity_seconds=self.random.choice([0, 60]),
            least_connections=self.random.random() < 0.2,
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
            where=f"r{self.random.randrange(2)}/z/",
            node=f"n{self.random.randrange(3)}",
            capacity=self.random.choice([0, 1, 1, 3]),
            accelerate=self.random.random() < 0.2,
        )

    def delta(self) -> tuple[list[Service | Workload], list[str]]:
        updated: list[Service | Workload] = [
            self.service() if self.random.random() < 0.4 else self.workload()
            for _ in range(self.random.randrange(1, 5))
        ]
        held = [s.key for s in self.state.services()] + [w.uid for w in self.state.workloads()]
        gone = self.random.sample(held, min(len(held), self.random.randrange(3)))
        return updated, gone
