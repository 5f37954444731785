"""The mesh as frozen values, decoded once at the border.

Names, defaults and meanings are Istio's (istio.workload). Addresses are packed
bytes: 4 for IPv4, 16 for IPv6; an IPv4-mapped address is always 4.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType

from ztunnel_compat.identity import Identity
from ztunnel_compat.names import service_key

#: A CIDR: its network's packed address, the host's bits zero, and prefix length.
Range = tuple[bytes, int]
EMPTY: Mapping[str, tuple[ServicePort, ...]] = MappingProxyType({})


class TunnelProtocol(IntEnum):
    """How a workload wants to be reached from another node."""

    NONE = 0
    HBONE = 1


class AppProtocol(IntEnum):
    """What a service port speaks; UNKNOWN is not said."""

    UNKNOWN = 0
    HTTP11 = 1
    HTTP2 = 2
    GRPC = 3
    TCP = 4
    TLS = 5


class WorkloadStatus(IntEnum):
    """Whether a workload may be given connections."""

    HEALTHY = 0
    UNHEALTHY = 1


class NetworkMode(IntEnum):
    """HOST_NETWORK workloads share their node's address: never index by it."""

    STANDARD = 0
    HOST_NETWORK = 1


class LoadBalancingMode(IntEnum):
    """How a service's routing preference binds."""

    UNSPECIFIED = 0
    STRICT = 1
    FAILOVER = 2
    PASSTHROUGH = 3


class Scope(IntEnum):
    """What two workloads may have in common, in a routing preference."""

    UNSPECIFIED = 0
    REGION = 1
    ZONE = 2
    SUBZONE = 3
    NODE = 4
    CLUSTER = 5
    NETWORK = 6


class HealthPolicy(IntEnum):
    """Which endpoints of a service count."""

    ONLY_HEALTHY = 0
    ALLOW_ALL = 1


@dataclass(frozen=True, slots=True)
class NetworkAddress:
    """An address within a network; length: the prefix of a CIDR, or None."""

    network: str
    address: bytes
    length: int | None = None

    def __str__(self) -> str:
        suffix = "" if self.length is None else f"/{self.length}"
        return f"{self.network}/{ipaddress.ip_address(self.address)}{suffix}"

    @property
    def range(self) -> Range | None:
        """What it covers, unless it is a single address."""
        if self.length is None or self.length == 8 * len(self.address):
            return None
        return network_of(self.address, self.length), self.length


def network_of(packed: bytes, length: int) -> bytes:
    """An address with all bits but the first ``length`` cleared."""
    host = 8 * len(packed) - length
    return (int.from_bytes(packed, "big") >> host << host).to_bytes(len(packed), "big")


@dataclass(frozen=True, slots=True)
class NamespacedHostname:
    """A service, by what names it everywhere."""

    namespace: str
    hostname: str

    def __str__(self) -> str:
        return service_key(self.namespace, self.hostname)


@dataclass(frozen=True, slots=True)
class GatewayAddress:
    """Where a waypoint or network gateway is."""

    destination: NamespacedHostname | NetworkAddress
    hbone_mtls_port: int = 15008

    def __str__(self) -> str:
        return str(self.destination)


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A service's port and where it leads; target_port 0: see the workload's."""

    service_port: int
    target_port: int
    app_protocol: AppProtocol = AppProtocol.UNKNOWN


@dataclass(frozen=True, slots=True)
class Extension:
    """Configuration that rides on a resource: a type URL and its bytes."""

    name: str
    type_url: str
    value: bytes


@dataclass(frozen=True, slots=True)
class LoadBalancing:
    """A service's routing preference."""

    routing_preference: tuple[Scope, ...] = ()
    mode: LoadBalancingMode = LoadBalancingMode.UNSPECIFIED
    health_policy: HealthPolicy = HealthPolicy.ONLY_HEALTHY


@dataclass(frozen=True, slots=True)
class Locality:
    """Where a workload runs."""

    region: str = ""
    zone: str = ""
    subzone: str = ""


@dataclass(frozen=True, slots=True)
class ApplicationTunnel:
    """The port where a workload takes connections with PROXY protocol v2."""

    port: int


@dataclass(frozen=True, slots=True)
class Service:
    """A name with virtual addresses, ports and, by the workloads, endpoints.

    canonical: goes before others of its hostname or address, after the caller's own
    namespace. affinity_seconds: for how long a client keeps its endpoint; 0: it
    doesn't. least_connections: the less busy of two endpoints is taken.
    """

    name: str
    namespace: str
    hostname: str
    addresses: tuple[NetworkAddress, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    subject_alt_names: tuple[str, ...] = ()
    waypoint: GatewayAddress | None = None
    load_balancing: LoadBalancing = LoadBalancing()
    extensions: tuple[Extension, ...] = ()
    namespace_visible_only: bool = False
    canonical: bool = False
    affinity_seconds: int = 0
    least_connections: bool = False

    @property
    def key(self) -> str:
        """The service's xDS name, ``namespace/hostname``."""
        return service_key(self.namespace, self.hostname)

    def port(self, number: int) -> ServicePort | None:
        """The service port with this number, or None."""
        return next((p for p in self.ports if p.service_port == number), None)


@dataclass(frozen=True, slots=True)
class Workload:
    """Something that runs, with addresses and an identity.

    services: key of each service it is an endpoint of → its ports there.
    capacity: its weight among endpoints; 0: none. accelerate: it asks for it.
    """

    uid: str
    name: str = ""
    namespace: str = ""
    addresses: tuple[bytes, ...] = ()
    network: str = ""
    hostname: str = ""
    tunnel_protocol: TunnelProtocol = TunnelProtocol.NONE
    trust_domain: str = "cluster.local"
    service_account: str = "default"
    waypoint: GatewayAddress | None = None
    node: str = ""
    canonical_name: str = ""
    canonical_revision: str = ""
    workload_type: str = "pod"
    workload_name: str = ""
    authorization_policies: tuple[str, ...] = ()
    status: WorkloadStatus = WorkloadStatus.HEALTHY
    cluster_id: str = "Kubernetes"
    services: Mapping[str, tuple[ServicePort, ...]] = field(
        default_factory=lambda: EMPTY, hash=False
    )
    application_tunnel: ApplicationTunnel | None = None
    locality: Locality = Locality()
    network_mode: NetworkMode = NetworkMode.STANDARD
    extensions: tuple[Extension, ...] = ()
    capacity: int = 1
    accelerate: bool = False

    @property
    def identity(self) -> Identity:
        """Who it is, as the control plane says."""
        return Identity(self.trust_domain, self.namespace, self.service_account)

    def target_port(self, service: Service, port: int) -> int | None:
        """Where a connection to this port of the service goes here, or None.

        The workload's own mapping wins, because a named target port may differ
        from pod to pod (the service's says 0 then).
        """
        for mapping in self.services.get(service.key, ()):
            if mapping.service_port == port and mapping.target_port:
                return mapping.target_port
        declared = service.port(port)
        return declared.target_port or None if declared else None
