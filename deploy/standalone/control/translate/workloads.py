"""A pod as an Address."""

from __future__ import annotations

from deploy.standalone.control.objects import Labels, Service, hostname
from deploy.standalone.control.pods import DesiredPod, PodStatus
from deploy.standalone.control.translate.ports import app_protocol, target_port, tcp_ports
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


def workload_name(pod: DesiredPod) -> str:
    """The pod's name in the stream."""
    return pod_uid(CLUSTER_ID, pod.namespace, pod.name)


def workload_address(
    pod: DesiredPod,
    status: PodStatus,
    services: tuple[Service, ...],
    *,
    enrolled: bool,
    waypoint: Name | None,
) -> pb.Address:
    """The Address of a pod that has addresses. services: those that select it.

    Values that are the protocol's defaults are left out, as istiod does.
    """
    account = pod.template.service_account
    workload = pb.Workload(
        uid=workload_name(pod),
        name=pod.name,
        namespace=pod.namespace,
        addresses=[address.packed for address in status.ips],
        tunnel_protocol=pb.HBONE if enrolled else pb.TunnelProtocol.NONE,
        service_account="" if account == "default" else account,
        node=pod.node,
        canonical_name=first(pod.template.labels, CANONICAL_NAME, pod.owner or pod.name),
        canonical_revision=first(pod.template.labels, CANONICAL_REVISION, "latest"),
        workload_type=pb.DEPLOYMENT if pod.owner else pb.POD,
        workload_name=pod.owner or pod.name,
        status=pb.HEALTHY if status.ready else pb.UNHEALTHY,
    )
    if waypoint is not None:
        workload.waypoint.CopyFrom(gateway_address(waypoint))
    if pod.gateway is not None:
        workload.application_tunnel.protocol = pb.ApplicationTunnel.PROXY
        workload.application_tunnel.port = IDENTITY_PORT
    for service in services:
        key = service_key(service.namespace, service.hostname)
        workload.services[key].CopyFrom(port_list(service, pod))
    return pb.Address(workload=workload)


def port_list(service: Service, pod: DesiredPod) -> pb.PortList:
    """A Service's ports as they lead to this pod."""
    ports = pb.PortList()
    for port in tcp_ports(service.ports):
        target = target_port(port, pod)
        if target is not None:
            ports.ports.add(
                service_port=port.port, target_port=target, app_protocol=app_protocol(port)
            )
    return ports


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
