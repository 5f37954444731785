"""Services and hosts of ServiceEntries as what requests are for, and go to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.standalone.control.hosts import Hosts
from deploy.standalone.control.objects import Transport, Visibility
from deploy.standalone.control.translate.ports import Port, app_protocol
from deploy.standalone.control.world import Name, World
from proto import workload_pb2 as pb

WILDCARD = "*"
#: Protocols whose messages are requests; of an unknown one, some may be.
HTTP = {pb.HTTP11, pb.HTTP2, pb.GRPC, pb.UNKNOWN}
STREAMS = {pb.TCP, pb.TLS, pb.UNKNOWN}


@dataclass(frozen=True, slots=True)
class Frontend:
    """A service. kind and name: of the object; ports: TCP ones; waypoint: or None."""

    namespace: str
    hostname: str
    kind: str
    name: str
    ports: tuple[Port, ...]
    waypoint: Name | None

    @property
    def key(self) -> Name:
        """Namespace and hostname, which name a service in the stream."""
        return (self.namespace, self.hostname)

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"

    def port(self, number: int) -> Port | None:
        """The port of that number."""
        return next((port for port in self.ports if port.port == number), None)

    def speaking(self, protocols: set[pb.AppProtocol.ValueType]) -> list[int]:
        """The numbers of the ports that speak one of the protocols."""
        return [port.port for port in self.ports if speaks(port, protocols)]


def speaks(port: Port, protocols: set[pb.AppProtocol.ValueType]) -> bool:
    """Whether a port speaks one of the protocols."""
    return app_protocol(port) in protocols


@dataclass(frozen=True, slots=True)
class Frontends:
    """All of them, by (namespace, hostname), by hostname and by object."""

    by_key: Mapping[Name, Frontend]
    by_host: Mapping[str, tuple[Frontend, ...]]
    by_object: Mapping[tuple[str, str, str], tuple[Frontend, ...]]

    def find(self, host: str, namespace: str) -> Frontend | None:
        """What a name stands for in a namespace: its own before other namespaces'."""
        found = self.by_host.get(host, ())
        return next((f for f in found if f.namespace == namespace), found[0] if found else None)

    def matching(self, host: str) -> list[Frontend]:
        """All that a host of an Istio object means."""
        if not host.startswith(WILDCARD):
            return list(self.by_host.get(host, ()))
        return [f for f in self.by_key.values() if covers(host, f.hostname)]


def covers(host: str, hostname: str) -> bool:
    """Whether a host, maybe * or *. and the end of names, means a name."""
    return hostname.endswith(host[1:]) if host.startswith(WILDCARD) else host == hostname


def specificity(host: str) -> tuple[bool, int]:
    """Sorts the host that says most first."""
    return (host.startswith(WILDCARD), -len(host))


def find_frontends(
    world: World,
    hosts: Hosts,
    services: Mapping[Name, Name | None],
    entries: Mapping[Name, Name | None],
) -> Frontends:
    """Look at every service. services, entries: which waypoint serves each object."""
    found = [
        Frontend(
            service.namespace,
            service.hostname,
            "Service",
            service.name,
            tuple(p for p in service.ports if p.transport is Transport.TCP),
            services[name],
        )
        for name, service in sorted(world.services.items())
        if service.gateway is None and service.visibility is not Visibility.NONE
    ]
    found += [
        Frontend(
            host.entry.namespace,
            host.hostname,
            "ServiceEntry",
            host.entry.name,
            tuple(p for p in host.entry.ports if p.transport is Transport.TCP),
            entries[(host.entry.namespace, host.entry.name)],
        )
        for _, host in sorted(hosts.by_key.items())
    ]
    by_host: dict[str, list[Frontend]] = defaultdict(list)
    by_object: dict[tuple[str, str, str], list[Frontend]] = defaultdict(list)
    for each in found:
        by_host[each.hostname].append(each)
        by_object[(each.kind, each.namespace, each.name)].append(each)
    return Frontends(
        {each.key: each for each in found},
        {host: tuple(group) for host, group in by_host.items()},
        {name: tuple(group) for name, group in by_object.items()},
    )
