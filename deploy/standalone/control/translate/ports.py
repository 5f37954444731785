"""What a Service's port speaks, and where it leads on a pod."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from deploy.standalone.control.istioapi import EntryPort, Outside
from deploy.standalone.control.objects import Service, ServicePort, Transport
from deploy.standalone.control.pods import DesiredPod
from deploy.standalone.control.problems import Problem
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
#: Protocols by name that are bytes to us.
BYTES = ("mysql", "mongo", "redis")
APP_PROTOCOLS |= dict.fromkeys(BYTES, pb.TCP)
#: A port's name, or what comes before its first dash (longest first).
PREFIXES = ("grpc-web", "http2", "http", "https", "grpc", "tcp", "tls", *BYTES)
#: SMTP, DNS, MySQL, MongoDB: where a port says nothing, its number does, since servers
#: speak first there (Istio's).
SERVER_FIRST = frozenset({25, 53, 3306, 27017})

#: A ServiceEntry's protocols; the others are plain TCP.
ENTRY_PROTOCOLS: dict[str, pb.AppProtocol.ValueType] = {
    "HTTP": pb.HTTP11,
    "HTTP2": pb.HTTP2,
    "GRPC": pb.GRPC,
    "GRPC-WEB": pb.HTTP11,
    "TLS": pb.TLS,
    "HTTPS": pb.TLS,
    "UDP": pb.UNKNOWN,
}

Port = ServicePort | EntryPort
P = TypeVar("P", bound=Port)


def app_protocol(port: Port) -> pb.AppProtocol.ValueType:
    """The protocol by appProtocol, else by the name's prefix; UNKNOWN: neither says it.

    Of UDP there is none.
    """
    if isinstance(port, EntryPort):
        return ENTRY_PROTOCOLS.get(port.protocol, pb.TCP)
    if port.transport is Transport.UDP:
        return pb.UNKNOWN
    said = APP_PROTOCOLS.get(port.app_protocol.lower())
    if said is not None:
        return said
    name = port.name.lower()
    for prefix in PREFIXES:
        if name == prefix or name.startswith(f"{prefix}-"):
            return APP_PROTOCOLS[prefix]
    return pb.TCP if port.port in SERVER_FIRST else pb.UNKNOWN


def target_port(port: Port, owner: DesiredPod | Outside) -> int | None:
    """Where a port leads on a workload; None when it has no port of that name."""
    if isinstance(owner, Outside):
        return target_outside(port, owner)
    if isinstance(port.target, int):
        return port.target
    for container in owner.template.containers:
        for declared in container.ports:
            if declared.name == port.target and declared.transport is port.transport:
                return declared.port
    return None


def target_outside(port: Port, owner: Outside) -> int | None:
    """Istio's rule: a named target must be among the ports, a port's name may be."""
    if isinstance(port.target, str):
        return owner.ports.get(port.target)
    return owner.ports.get(port.name, port.target)


def stream_ports(ports: Sequence[P]) -> list[P]:
    """The ports as the stream carries them: it has no word for the transport.

    A number that both transports have goes once, as TCP has it.
    """
    found: dict[int, P] = {}
    for port in ports:
        if port.transport is Transport.TCP or port.port not in found:
            found[port.port] = port
    return sorted(found.values(), key=ports.index)


def check_transports(service: Service) -> list[Problem]:
    """Report UDP ports that lead where the TCP port of the same number does."""
    sent = {port.port: port for port in stream_ports(service.ports)}
    return [
        service.origin.error(
            "spec.ports",
            f"UDP port {port.port} leads to {sent[port.port].target} too, as the TCP port "
            f"does, not to {port.target}: give them one targetPort, or two numbers",
        )
        for port in service.ports
        if port.target != sent[port.port].target
    ]
