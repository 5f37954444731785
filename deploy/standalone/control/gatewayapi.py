"""The Gateway API's objects as frozen values, as far as a mesh has use for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from deploy.standalone.control.objects import (
    Deployment,
    Key,
    Labels,
    Namespace,
    Pod,
    Service,
    ServiceAccount,
)
from deploy.standalone.control.problems import Origin

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
    """A waypoint that was asked for."""

    namespace: str
    name: str
    gateway_class: str
    labels: Labels
    listeners: tuple[Listener, ...]
    origin: Origin = field(compare=False)

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key("Gateway", self.namespace, self.name)


class MatchKind(StrEnum):
    """How a text is matched; PREFIX counts whole path segments."""

    EXACT = "Exact"
    PREFIX = "PathPrefix"
    REGEX = "RegularExpression"


@dataclass(frozen=True, slots=True)
class PathMatch:
    """A path to match."""

    kind: MatchKind
    value: str


@dataclass(frozen=True, slots=True)
class ValueMatch:
    """A header or query parameter to match, EXACT or REGEX."""

    kind: MatchKind
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """Everything of it must match."""

    path: PathMatch = PathMatch(MatchKind.PREFIX, "/")
    headers: tuple[ValueMatch, ...] = ()
    query: tuple[ValueMatch, ...] = ()
    method: str = ""


@dataclass(frozen=True, slots=True)
class BackendRef:
    """A Service to send a share of the requests to. path: its place, for errors."""

    namespace: str
    name: str
    port: int
    weight: int
    origin: Origin = field(compare=False)
    path: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class RouteRule:
    """One of the matches leads to the backends. timeout: seconds, 0 for none."""

    matches: tuple[RouteMatch, ...]
    backends: tuple[BackendRef, ...]
    timeout: float = 0.0


@dataclass(frozen=True, slots=True)
class ParentRef:
    """A Service whose requests are routed; port and section narrow it."""

    name: str
    port: int | None
    section: str
    origin: Origin = field(compare=False)
    path: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """Rules for the requests to Services of its namespace."""

    namespace: str
    name: str
    parents: tuple[ParentRef, ...]
    rules: tuple[RouteRule, ...]
    origin: Origin = field(compare=False)

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key("HTTPRoute", self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class ReferenceGrant:
    """HTTPRoutes of namespaces may name Services of this one; names: () for all."""

    namespace: str
    name: str
    from_namespaces: tuple[str, ...]
    names: tuple[str, ...]
    everything: bool
    origin: Origin = field(compare=False)

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key("ReferenceGrant", self.namespace, self.name)

    def allows(self, namespace: str, service: str) -> bool:
        """Whether a route of that namespace may name that Service of this one."""
        return namespace in self.from_namespaces and (self.everything or service in self.names)


ClusterObject = (
    Namespace
    | ServiceAccount
    | Pod
    | Deployment
    | Service
    | Gateway
    | HttpRoute
    | ReferenceGrant
)
