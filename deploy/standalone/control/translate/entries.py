"""Hosts of ServiceEntries, and workloads that no pod is, as Addresses."""

from __future__ import annotations

from ipaddress import ip_network

from deploy.standalone.config import TRUST_DOMAIN
from deploy.standalone.control.hosts import Host
from deploy.standalone.control.istioapi import Resolution
from deploy.standalone.control.objects import IpAddress, IpNetwork
from deploy.standalone.control.outsides import OutsideView
from deploy.standalone.control.translate.ports import app_protocol, stream_ports
from deploy.standalone.control.translate.services import VISIBILITIES, preference
from deploy.standalone.control.translate.workloads import (
    CANONICAL_NAME,
    CANONICAL_REVISION,
    first,
    gateway_address,
    locality,
    memberships,
)
from deploy.standalone.control.world import Name
from proto import workload_pb2 as pb
from ztunnel_compat.names import service_key


def host_name(host: Host) -> str:
    """The host's name in the stream."""
    return service_key(*host.key)


def host_address(host: Host, given: tuple[IpAddress, ...], waypoint: Name | None) -> pb.Address:
    """The Address of a host. given: by the control plane, where it has none itself."""
    entry = host.entry
    networks = entry.addresses or tuple(map(ip_network, given))
    message = pb.Service(
        name=entry.name,
        namespace=entry.namespace,
        hostname=host.hostname,
        addresses=[network_address(network) for network in networks],
        subject_alt_names=entry.subject_alt_names,
        canonical=host.canonical,
        visibility=VISIBILITIES[entry.visibility],
    )
    for port in stream_ports(entry.ports):
        message.ports.add(
            service_port=port.port, target_port=port.target, app_protocol=app_protocol(port)
        )
    if waypoint is not None:
        message.waypoint.CopyFrom(gateway_address(waypoint))
    if entry.resolution is Resolution.NONE:
        message.load_balancing.mode = pb.LoadBalancing.PASSTHROUGH
        message.load_balancing.health_policy = pb.LoadBalancing.ALLOW_ALL
    elif entry.distribution:
        message.load_balancing.CopyFrom(preference(entry.distribution))
    return pb.Address(service=message)


def network_address(network: IpNetwork) -> pb.NetworkAddress:
    """A single address, or a range with its length."""
    message = pb.NetworkAddress(address=network.network_address.packed)
    if network.num_addresses > 1:
        message.length = network.prefixlen
    return message


def outside_address(view: OutsideView, trust_domain: str) -> pb.Address:
    """The Address of a workload that is no pod. It is taken for healthy, as in Istio.

    One that a node serves is reached by HBONE, and by the node's own pods directly.
    """
    outside = view.outside
    workload = pb.Workload(
        uid=view.uid,
        name=view.name,
        namespace=view.namespace,
        addresses=[address.packed for address in view.ips],
        hostname=outside.address if isinstance(outside.address, str) else "",
        network=outside.network,
        tunnel_protocol=pb.HBONE if view.tunnel or view.served else pb.TunnelProtocol.NONE,
        node=view.node if view.served else "",
        trust_domain="" if trust_domain == TRUST_DOMAIN else trust_domain,
        service_account="" if outside.service_account == "default" else outside.service_account,
        canonical_name=first(view.labels, CANONICAL_NAME, view.name),
        canonical_revision=first(view.labels, CANONICAL_REVISION, "latest"),
        workload_type=pb.POD,
        workload_name=view.name,
        status=pb.HEALTHY,
        authorization_policies=view.policies,
    )
    place = locality(outside.locality)
    if place is not None:
        workload.locality.CopyFrom(place)
    if outside.weight:
        workload.capacity.value = outside.weight
    if view.waypoint is not None:
        workload.waypoint.CopyFrom(gateway_address(view.waypoint))
    for key, ports in memberships(view.services, view.hosts, outside).items():
        workload.services[key].CopyFrom(ports)
    return pb.Address(workload=workload)
