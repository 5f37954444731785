"""A pod as an Address."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deploy.standalone.config import TRUST_DOMAIN
from deploy.standalone.control.hosts import Host
from deploy.standalone.control.istioapi import Outside
from deploy.standalone.control.objects import (
    NOWHERE,
    Labels,
    Locality,
    Service,
    Visibility,
    hostname,
)
from deploy.standalone.control.pods import DesiredPod, PodStatus
from deploy.standalone.control.translate.l4 import l4_extensions
from deploy.standalone.control.translate.ports import (
    Port,
    app_protocol,
    stream_ports,
    target_port,
)
from deploy.standalone.control.world import Name
from proto import workload_pb2 as pb
from ztunnel_compat.names import pod_uid, service_key

CLUSTER_ID = "Kubernetes"
HBONE_PORT = 15008
IDENTITY_PORT = 15088

CANONICAL_NAME = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
CANONICAL_REVISION = (
    "service.istio.io/canonical-revision",
    "app.kubernetes.io/version",
    "version",
)


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod with what its labels came to. policies: by their names in the stream."""

    pod: DesiredPod
    enrolled: bool
    waypoint: Name | None
    services: tuple[Service, ...]
    hosts: tuple[Host, ...] = ()
    policies: tuple[str, ...] = ()
    locality: Locality = NOWHERE


def workload_name(pod: DesiredPod) -> str:
    """The pod's name in the stream."""
    return pod_uid(CLUSTER_ID, pod.namespace, pod.name)


def workload_address(view: PodView, status: PodStatus, trust_domain: str) -> pb.Address:
    """The Address of a pod that has addresses.

    Values that are the protocol's defaults are left out, as istiod does.
    """
    pod = view.pod
    account = pod.template.service_account
    workload = pb.Workload(
        uid=workload_name(pod),
        name=pod.name,
        namespace=pod.namespace,
        addresses=[address.packed for address in status.ips],
        tunnel_protocol=pb.HBONE if view.enrolled or pod.gateway else pb.TunnelProtocol.NONE,
        trust_domain="" if trust_domain == TRUST_DOMAIN else trust_domain,
        service_account="" if account == "default" else account,
        node=pod.node,
        canonical_name=first(pod.template.labels, CANONICAL_NAME, pod.owner or pod.name),
        canonical_revision=first(pod.template.labels, CANONICAL_REVISION, "latest"),
        workload_type=pb.DEPLOYMENT if pod.owner else pb.POD,
        workload_name=pod.owner or pod.name,
        status=pb.HEALTHY if status.ready else pb.UNHEALTHY,
        authorization_policies=view.policies,
        extensions=l4_extensions(accelerate=pod.template.accelerate),
    )
    place = locality(view.locality)
    if place is not None:
        workload.locality.CopyFrom(place)
    if view.waypoint is not None:
        workload.waypoint.CopyFrom(gateway_address(view.waypoint))
    if pod.gateway is not None and view.enrolled:
        workload.application_tunnel.protocol = pb.ApplicationTunnel.PROXY
        workload.application_tunnel.port = IDENTITY_PORT
    for key, ports in memberships(view.services, view.hosts, pod).items():
        workload.services[key].CopyFrom(ports)
    return pb.Address(workload=workload)


def memberships(
    services: Iterable[Service], hosts: Iterable[Host], owner: DesiredPod | Outside
) -> dict[str, pb.PortList]:
    """The ports of each service and host as they lead to a workload behind it."""
    found = {
        service_key(service.namespace, service.hostname): port_list(service.ports, owner)
        for service in services
        if service.visibility is not Visibility.NONE
    }
    return found | {
        service_key(*host.key): port_list(host.entry.ports, owner) for host in hosts
    }


def port_list(ports: Sequence[Port], owner: DesiredPod | Outside) -> pb.PortList:
    """A service's ports as they lead to a workload."""
    found = pb.PortList()
    for port in stream_ports(ports):
        target = target_port(port, owner)
        if target is not None:
            found.ports.add(
                service_port=port.port, target_port=target, app_protocol=app_protocol(port)
            )
    return found


def locality(place: Locality) -> pb.Locality | None:
    """A locality as it is sent; None for one that nothing is known of."""
    message = pb.Locality(region=place.region, zone=place.zone, subzone=place.subzone)
    return message if message.ByteSize() else None


def gateway_address(name: Name) -> pb.GatewayAddress:
    """A waypoint, by its Service's name."""
    namespace, gateway = name
    return pb.GatewayAddress(
        hostname=pb.NamespacedHostname(
            namespace=namespace, hostname=hostname(gateway, namespace)
        ),
        hbone_mtls_port=HBONE_PORT,
    )


def first(labels: Labels, names: tuple[str, ...], default: str) -> str:
    """The value of the first of the labels that is there."""
    return next((labels[name] for name in names if labels.get(name)), default)
