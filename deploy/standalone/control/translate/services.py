"""A Service as an Address."""

from __future__ import annotations

from deploy.standalone.control.objects import Family, IpAddress, Service, Visibility
from deploy.standalone.control.translate.l4 import l4_extensions
from deploy.standalone.control.translate.ports import app_protocol, stream_ports
from deploy.standalone.control.translate.workloads import gateway_address
from deploy.standalone.control.world import Name
from proto import workload_pb2 as pb
from ztunnel_compat.names import service_key

SAME_ZONE = (pb.LoadBalancing.NETWORK, pb.LoadBalancing.REGION, pb.LoadBalancing.ZONE)
SAME_NODE = (*SAME_ZONE, pb.LoadBalancing.SUBZONE, pb.LoadBalancing.NODE)
PREFERENCES = {
    "PreferClose": SAME_ZONE,
    "PreferSameZone": SAME_ZONE,
    "PreferSameNode": SAME_NODE,
}
FAMILIES: dict[tuple[Family, ...], pb.IPFamilies.ValueType] = {
    (Family.IPV4,): pb.IPV4_ONLY,
    (Family.IPV6,): pb.IPV6_ONLY,
}
#: Those of nobody aren't sent at all.
VISIBILITIES: dict[Visibility, pb.ServiceVisibility.ValueType] = {
    Visibility.PUBLIC: pb.PUBLIC,
    Visibility.NAMESPACE: pb.NAMESPACE,
}


def service_name(service: Service) -> str:
    """The Service's name in the stream."""
    return service_key(service.namespace, service.hostname)


def service_address(
    service: Service,
    addresses: tuple[IpAddress, ...],
    families: tuple[Family, ...],
    waypoint: Name | None,
) -> pb.Address:
    """The Address of a Service, without routes. A named target port reads as 0."""
    message = pb.Service(
        name=service.name,
        namespace=service.namespace,
        hostname=service.hostname,
        addresses=[pb.NetworkAddress(address=address.packed) for address in addresses],
        ip_families=FAMILIES.get(families, pb.DUAL),
        canonical=True,
        visibility=VISIBILITIES[service.visibility],
        extensions=l4_extensions(
            sessionAffinitySeconds=service.affinity, leastConnections=service.least_connections
        ),
    )
    for port in stream_ports(service.ports):
        message.ports.add(
            service_port=port.port,
            target_port=port.target if isinstance(port.target, int) else 0,
            app_protocol=app_protocol(port),
        )
    if waypoint is not None:
        message.waypoint.CopyFrom(gateway_address(waypoint))
    balancing = load_balancing(service)
    if balancing.ByteSize():
        message.load_balancing.CopyFrom(balancing)
    return pb.Address(service=message)


def load_balancing(service: Service) -> pb.LoadBalancing:
    """internalTrafficPolicy before trafficDistribution, as istiod maps them."""
    balancing = pb.LoadBalancing()
    if service.node_local:
        balancing.mode = pb.LoadBalancing.STRICT
        balancing.routing_preference.append(pb.LoadBalancing.NODE)
    elif service.distribution:
        balancing.CopyFrom(preference(service.distribution))
    if service.publish_not_ready:
        balancing.health_policy = pb.LoadBalancing.ALLOW_ALL
    return balancing


def preference(distribution: str) -> pb.LoadBalancing:
    """Near endpoints first, and further ones where those are missing."""
    return pb.LoadBalancing(
        mode=pb.LoadBalancing.FAILOVER, routing_preference=PREFERENCES[distribution]
    )
