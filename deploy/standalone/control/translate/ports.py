"""What a Service's port speaks, and where it leads on a pod."""

from __future__ import annotations

from deploy.standalone.control.objects import ServicePort, Transport
from deploy.standalone.control.pods import DesiredPod
from proto import workload_pb2 as pb

#: appProtocol, in Kubernetes' and Istio's words.
APP_PROTOCOLS: dict[str, pb.AppProtocol.ValueType] = {
    "http": pb.HTTP11,
    "kubernetes.io/ws": pb.HTTP11,
    "http2": pb.HTTP2,
    "kubernetes.io/h2c": pb.HTTP2,
    "grpc": pb.GRPC,
    "grpc-web": pb.HTTP11,
    "tcp": pb.TCP,
    "tls": pb.TLS,
    "https": pb.TLS,
    "kubernetes.io/wss": pb.TLS,
}
#: A port's name, or what comes before its first dash (longest first).
PREFIXES = ("grpc-web", "http2", "http", "https", "grpc", "tcp", "tls")


def app_protocol(port: ServicePort) -> pb.AppProtocol.ValueType:
    """The protocol by appProtocol, else by the name's prefix, else TCP."""
    said = APP_PROTOCOLS.get(port.app_protocol.lower())
    if said is not None:
        return said
    name = port.name.lower()
    for prefix in PREFIXES:
        if name == prefix or name.startswith(f"{prefix}-"):
            return APP_PROTOCOLS[prefix]
    return pb.TCP


def target_port(port: ServicePort, pod: DesiredPod) -> int | None:
    """Where a Service's port leads on a pod; None when it has no port of that name."""
    if isinstance(port.target, int):
        return port.target
    for container in pod.template.containers:
        for declared in container.ports:
            if declared.name == port.target and declared.transport is port.transport:
                return declared.port
    return None


def tcp_ports(ports: tuple[ServicePort, ...]) -> list[ServicePort]:
    """The ports that the stream carries: it has no word for UDP."""
    return [port for port in ports if port.transport is Transport.TCP]
