"""Kubernetes' core objects as frozen values: what the mesh needs of each.

Equality leaves out where an object was written, so that moving one within a
file changes nothing. Mappings are never changed after parsing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

from deploy.standalone.control.problems import Origin

Labels = Mapping[str, str]
IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network


class Key(NamedTuple):
    """What names an object; namespace is empty for those that have none."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        parts = (self.kind.lower(), self.namespace, self.name)
        return "/".join(part for part in parts if part)


class Transport(StrEnum):
    """A port's transport."""

    TCP = "TCP"
    UDP = "UDP"


class Family(StrEnum):
    """An IP family, in Kubernetes' words."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"


class FamilyPolicy(StrEnum):
    """How many families a Service wants."""

    SINGLE = "SingleStack"
    PREFER_DUAL = "PreferDualStack"
    REQUIRE_DUAL = "RequireDualStack"


class Visibility(StrEnum):
    """Who sees a service: everyone, its own namespace, or nobody in the mesh."""

    PUBLIC = "*"
    NAMESPACE = "."
    NONE = "~"


@dataclass(frozen=True, slots=True)
class Locality:
    """Where something runs, from the whole to its parts."""

    region: str = ""
    zone: str = ""
    subzone: str = ""


NOWHERE = Locality()


@dataclass(frozen=True, slots=True)
class Node:
    """A node's labels say where its pods are, and which pods it takes."""

    name: str
    locality: Locality
    origin: Origin = field(compare=False)
    labels: Labels = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key("Node", "", self.name)


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace; its labels hold for everything in it that says nothing else.

    distribution: of connections to its services, for the same case.
    """

    name: str
    labels: Labels
    origin: Origin = field(compare=False)
    distribution: str = ""

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key("Namespace", "", self.name)


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """An identity that pods may run with."""

    namespace: str
    name: str
    origin: Origin = field(compare=False)

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key("ServiceAccount", self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class EnvVar:
    """An environment variable: a text, or a field of the pod (a fieldPath)."""

    name: str
    value: str = ""
    field_path: str | None = None


@dataclass(frozen=True, slots=True)
class ContainerPort:
    """A port that a container declares; a name lets Services target it."""

    name: str
    port: int
    transport: Transport = Transport.TCP


@dataclass(frozen=True, slots=True)
class Probe:
    """A readiness probe. kind: http or tcp; times in seconds."""

    kind: str
    port: int
    path: str = "/"
    scheme: str = "HTTP"
    initial_delay: int = 0
    period: int = 10
    timeout: int = 1
    failure_threshold: int = 3
    success_threshold: int = 1


@dataclass(frozen=True, slots=True)
class Container:
    """A program to run. working_dir: absolute, or None for the runner's choice."""

    name: str
    command: tuple[str, ...]
    args: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    working_dir: str | None = None
    ports: tuple[ContainerPort, ...] = ()
    readiness: Probe | None = None


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """What a pod is made from. node: asked for by nodeName, or None.

    node_selector: labels that its node must have; accelerate: its connections
    within the node may pass TCP by.
    """

    labels: Labels
    containers: tuple[Container, ...]
    service_account: str = "default"
    node: str | None = None
    restart_policy: str = "Always"
    grace_period: int = 30
    accelerate: bool = False
    node_selector: Labels = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that was written down by itself."""

    namespace: str
    name: str
    template: PodTemplate
    origin: Origin = field(compare=False)

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key("Pod", self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Deployment:
    """So many equal pods. gateway: the name of the Gateway it serves, or None."""

    namespace: str
    name: str
    replicas: int
    template: PodTemplate
    origin: Origin = field(compare=False)
    gateway: str | None = None

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key("Deployment", self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A Service's port; target: a number, or the name of a container's port."""

    name: str
    port: int
    target: int | str
    transport: Transport = Transport.TCP
    app_protocol: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """A Service. An empty selector selects nothing.

    cluster_ips: asked for in the manifest; families: asked for, maybe none;
    affinity: seconds that a client stays with its endpoint, 0 for none.
    """

    namespace: str
    name: str
    labels: Labels
    selector: Labels
    ports: tuple[ServicePort, ...]
    origin: Origin = field(compare=False)
    headless: bool = False
    cluster_ips: tuple[IpAddress, ...] = ()
    families: tuple[Family, ...] = ()
    family_policy: FamilyPolicy | None = None
    publish_not_ready: bool = False
    node_local: bool = False
    distribution: str = ""
    affinity: int = 0
    least_connections: bool = False
    visibility: Visibility = Visibility.PUBLIC
    gateway: str | None = None

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key("Service", self.namespace, self.name)

    @property
    def hostname(self) -> str:
        """The name that clients use and that xDS carries."""
        return hostname(self.name, self.namespace)


CLUSTER_DOMAIN = "cluster.local"


def hostname(name: str, namespace: str) -> str:
    """A Service's full name in DNS."""
    return f"{name}.{namespace}.svc.{CLUSTER_DOMAIN}"
