"""The Gateway API's objects as frozen values, as far as a mesh has use for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from deploy.standalone.control.extensionapi import EnvoyFilter, MeshConfig
from deploy.standalone.control.istioapi import (
    AuthorizationPolicy,
    PeerAuthentication,
    ServiceEntry,
    WorkloadEntry,
)
from deploy.standalone.control.objects import (
    Deployment,
    Key,
    Labels,
    Namespace,
    Node,
    Pod,
    Service,
    ServiceAccount,
)
from deploy.standalone.control.pluginapi import PythonFilter
from deploy.standalone.control.problems import Origin
from deploy.standalone.control.routing import RouteRule, StreamRule
from deploy.standalone.control.tokenapi import RequestAuthentication
from deploy.standalone.control.trafficapi import DestinationRule, VirtualService

WAYPOINT_CLASSES = ("tandem-waypoint", "istio-waypoint")
HBONE_PORT = 15008


class From(StrEnum):
    """Namespaces that a listener takes users from."""

    SAME = "Same"
    ALL = "All"
    SELECTOR = "Selector"
    NONE = "None"


@dataclass(frozen=True, slots=True)
class Listener:
    """A listener, with who may use it. selector: of namespaces, for SELECTOR."""

    name: str
    port: int
    users: From = From.SAME
    selector: Labels = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A waypoint that was asked for. client_identity: endpoints are told the client's, in
    x-forwarded-client-cert.
    """

    namespace: str
    name: str
    gateway_class: str
    labels: Labels
    listeners: tuple[Listener, ...]
    origin: Origin = field(compare=False)
    client_identity: bool = False

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key("Gateway", self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class ParentRef:
    """A Service, or ServiceEntry, whose requests are routed; port and section narrow it.

    One of another namespace is asked by the route's own namespace only.
    """

    namespace: str
    name: str
    port: int | None
    section: str
    origin: Origin = field(compare=False)
    path: str = field(compare=False)
    kind: str = "Service"


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """Rules for requests. kind: HTTPRoute, or GRPCRoute, whose requests are gRPC's."""

    namespace: str
    name: str
    parents: tuple[ParentRef, ...]
    rules: tuple[RouteRule, ...]
    origin: Origin = field(compare=False)
    kind: str = "HTTPRoute"

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key(self.kind, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class StreamRoute:
    """Where connections go. kind: TCPRoute, or TLSRoute, which knows server names."""

    namespace: str
    name: str
    kind: str
    parents: tuple[ParentRef, ...]
    rules: tuple[StreamRule, ...]
    origin: Origin = field(compare=False)

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key(self.kind, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class ReferenceGrant:
    """Routes of these kinds and namespaces may name Services of this one.

    names: of Services, where everything isn't set.
    """

    namespace: str
    name: str
    sources: tuple[tuple[str, str], ...]
    names: tuple[str, ...]
    everything: bool
    origin: Origin = field(compare=False)

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key("ReferenceGrant", self.namespace, self.name)

    def allows(self, kind: str, namespace: str, service: str) -> bool:
        """Whether such a route of that namespace may name that Service of this one."""
        return (kind, namespace) in self.sources and (self.everything or service in self.names)


ClusterObject = (
    Namespace
    | ServiceAccount
    | Pod
    | Deployment
    | Service
    | Gateway
    | HttpRoute
    | StreamRoute
    | ReferenceGrant
    | Node
    | AuthorizationPolicy
    | PeerAuthentication
    | RequestAuthentication
    | ServiceEntry
    | WorkloadEntry
    | VirtualService
    | DestinationRule
    | EnvoyFilter
    | MeshConfig
    | PythonFilter
)
