"""Resources of the control plane's, from their bytes to the model.

Each function raises ResourceError naming field and value; what can't be fully
understood is rejected, never half used. Elided defaults are Istio's. What many
workloads have in common is held once: a mesh has a hundred thousand of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from sys import intern
from types import MappingProxyType

from google.protobuf.message import DecodeError

from proto import workload_pb2
from ztunnel_compat.errors import ResourceError
from ztunnel_compat.fields import (
    extensions,
    gateway,
    member,
    network_address,
    packed,
    port_number,
    port_numbers,
    ports,
)
from ztunnel_compat.l4 import service_options, workload_options
from ztunnel_compat.model import (
    ApplicationTunnel,
    Extension,
    GatewayAddress,
    HealthPolicy,
    LoadBalancing,
    LoadBalancingMode,
    Locality,
    NetworkMode,
    Scope,
    Service,
    ServicePort,
    TunnelProtocol,
    Workload,
    WorkloadStatus,
)

NO_EXTENSIONS: tuple[Extension, ...] = ()
#: Values that were decoded before and may be met again.
SHARED = 16384


def decode_address(name: str, value: bytes) -> Workload | Service:
    """Decode an istio.workload.Address that was served under this xDS name.

    The name must be the resource's own: what is removed later goes by it.
    """
    message = workload_pb2.Address()
    try:
        message.ParseFromString(value)
    except DecodeError as error:
        raise ResourceError(f"no istio.workload.Address: {error}") from error
    kind = message.WhichOneof("type")
    if kind == "workload":
        workload = decode_workload(message.workload)
        if workload.uid != name:
            raise ResourceError(f"uid {workload.uid!r} under another name")
        return workload
    if kind == "service":
        service = decode_service(message.service)
        if service.key != name:
            raise ResourceError(f"service {service.key!r} under another name")
        return service
    raise ResourceError("type: neither a workload nor a service")


def decode_workload(message: workload_pb2.Workload) -> Workload:
    """Decode a workload; network_gateway and native_tunnel have no use here."""
    if not message.uid:
        raise ResourceError("uid: missing")
    tunnel = "tunnel_protocol"
    place = message.locality
    riding = extensions(message.extensions) if message.extensions else NO_EXTENSIONS
    return Workload(
        uid=message.uid,
        name=message.name,
        namespace=intern(message.namespace),
        addresses=tuple([packed("addresses", address) for address in message.addresses]),
        network=intern(message.network),
        hostname=message.hostname,
        tunnel_protocol=member(TunnelProtocol, tunnel, message.tunnel_protocol),
        trust_domain=intern(message.trust_domain or "cluster.local"),
        service_account=intern(message.service_account or "default"),
        waypoint=waypoint_of_workload(message),
        node=intern(message.node),
        canonical_name=intern(message.canonical_name),
        canonical_revision=intern(message.canonical_revision),
        workload_type=workload_type(message.workload_type),
        workload_name=intern(message.workload_name),
        authorization_policies=tuple(message.authorization_policies),
        status=member(WorkloadStatus, "status", message.status),
        cluster_id=intern(message.cluster_id or "Kubernetes"),
        services=memberships(message.services),
        application_tunnel=application_tunnel(message),
        locality=locality(place.region, place.zone, place.subzone),
        network_mode=member(NetworkMode, "network_mode", message.network_mode),
        extensions=riding,
        capacity=message.capacity.value if message.HasField("capacity") else 1,
        **workload_options(riding),
    )


def decode_service(message: workload_pb2.Service) -> Service:
    """Decode a service; ip_families and ingress_use_waypoint have no use here."""
    for field in ("namespace", "hostname"):
        if not getattr(message, field):
            raise ResourceError(f"{field}: missing")
    balancing = message.load_balancing
    riding = extensions(message.extensions)
    return Service(
        name=message.name,
        namespace=message.namespace,
        hostname=message.hostname,
        addresses=tuple(network_address("addresses", a) for a in message.addresses),
        ports=ports("ports", port_numbers(message.ports)),
        subject_alt_names=tuple(message.subject_alt_names),
        waypoint=waypoint_of_service(message),
        load_balancing=LoadBalancing(
            tuple(shared_scope(scope) for scope in balancing.routing_preference),
            member(LoadBalancingMode, "load_balancing.mode", balancing.mode),
            member(HealthPolicy, "load_balancing.health_policy", balancing.health_policy),
        ),
        extensions=riding,
        namespace_visible_only=message.visibility != workload_pb2.PUBLIC,
        canonical=message.canonical,
        **service_options(riding),
    )


def shared_scope(number: workload_pb2.LoadBalancing.Scope.ValueType) -> Scope:
    """A scope of a routing preference; ztunnel rejects an unspecified one too."""
    scope = member(Scope, "load_balancing.routing_preference", number)
    if scope is Scope.UNSPECIFIED:
        raise ResourceError(f"load_balancing.routing_preference: {number} is unspecified")
    return scope


def waypoint_of_workload(message: workload_pb2.Workload) -> GatewayAddress | None:
    """A workload's waypoint, if it names one."""
    return gateway("waypoint", message.waypoint) if message.HasField("waypoint") else None


def waypoint_of_service(message: workload_pb2.Service) -> GatewayAddress | None:
    """A service's waypoint; of weighted ones alone, the heaviest.

    Never none when one is named: its policies must not be skipped.
    """
    if message.HasField("waypoint"):
        return gateway("waypoint", message.waypoint)
    if not message.weighted_waypoints:
        return None
    heaviest = max(message.weighted_waypoints, key=lambda waypoint: waypoint.weight)
    return gateway("weighted_waypoints", heaviest.destination)


def memberships(
    services: Mapping[str, workload_pb2.PortList],
) -> Mapping[str, tuple[ServicePort, ...]]:
    """Decode the services that a workload is an endpoint of."""
    return shared_memberships(
        tuple([(key, port_numbers(value.ports)) for key, value in services.items()])
    )


@lru_cache(maxsize=SHARED)
def shared_memberships(
    services: tuple[tuple[str, tuple[tuple[int, int, int], ...]], ...],
) -> Mapping[str, tuple[ServicePort, ...]]:
    """One value for all workloads that are endpoints of the same services' ports."""
    for key, _ in services:
        namespace, _, hostname = key.partition("/")
        if not namespace or not hostname:
            raise ResourceError(f"services: {key!r} is no namespace/hostname")
    return MappingProxyType(
        {intern(key): ports(f"services[{key}]", numbers) for key, numbers in services}
    )


@lru_cache(maxsize=SHARED)
def locality(region: str, zone: str, subzone: str) -> Locality:
    """One value for all workloads of a place."""
    return Locality(region, zone, subzone)


def application_tunnel(message: workload_pb2.Workload) -> ApplicationTunnel | None:
    """The PROXY protocol port of a workload; one without the protocol is none."""
    tunnel = message.application_tunnel
    if tunnel.protocol == workload_pb2.ApplicationTunnel.NONE:
        return None
    if tunnel.protocol != workload_pb2.ApplicationTunnel.PROXY:
        raise ResourceError(f"application_tunnel.protocol: {tunnel.protocol} is unknown")
    if not tunnel.port:
        raise ResourceError("application_tunnel.port: missing")
    return ApplicationTunnel(port_number("application_tunnel.port", tunnel.port))


def workload_type(number: workload_pb2.WorkloadType.ValueType) -> str:
    """What made a workload, as metrics and baggage spell it."""
    try:
        return workload_pb2.WorkloadType.Name(number).lower()
    except ValueError:
        raise ResourceError(f"workload_type: {number} is unknown") from None
