"""What extends waypoints, as frozen values: EnvoyFilter, MeshConfig's providers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from deploy.standalone.control.objects import Key, Labels
from deploy.standalone.control.problems import Origin


@dataclass(frozen=True, slots=True)
class TargetRef:
    """What an object is attached to, in its own namespace. path: of the reference.

    kind: Service, ServiceEntry or Gateway; of the root namespace also GatewayClass.
    """

    kind: str
    name: str
    path: str = field(compare=False)
    origin: Origin = field(compare=False)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class ApplyTo(StrEnum):
    """What an EnvoyFilter's patch changes."""

    HTTP_FILTER = "HTTP_FILTER"
    NETWORK_FILTER = "NETWORK_FILTER"
    CLUSTER = "CLUSTER"
    ROUTE_CONFIGURATION = "ROUTE_CONFIGURATION"
    VIRTUAL_HOST = "VIRTUAL_HOST"
    HTTP_ROUTE = "HTTP_ROUTE"


class Operation(StrEnum):
    """How a patch changes it."""

    MERGE = "MERGE"
    ADD = "ADD"
    REMOVE = "REMOVE"
    INSERT_BEFORE = "INSERT_BEFORE"
    INSERT_AFTER = "INSERT_AFTER"
    INSERT_FIRST = "INSERT_FIRST"
    REPLACE = "REPLACE"


@dataclass(frozen=True, slots=True)
class PatchMatch:
    """What a patch is for; empty or 0: any.

    port: of the service; filter: the HTTP filter; chain: the filter chain;
    configuration, host, domain, route: names of a RouteConfiguration and its parts;
    action: ROUTE, REDIRECT or DIRECT_RESPONSE; service, subset: of a cluster.
    """

    port: int = 0
    filter: str = ""
    chain: str = ""
    configuration: str = ""
    host: str = ""
    domain: str = ""
    route: str = ""
    action: str = ""
    service: str = ""
    subset: str = ""


@dataclass(frozen=True, slots=True)
class ConfigPatch:
    """One of an EnvoyFilter's patches. value: a serialized message of Envoy's: HttpFilter,
    Filter, Cluster, RouteConfiguration, VirtualHost or Route; path: its place in the
    object.
    """

    apply_to: ApplyTo
    operation: Operation
    match: PatchMatch
    value: bytes
    path: str
    origin: Origin = field(compare=False)


@dataclass(frozen=True, slots=True)
class EnvoyFilter:
    """Changes to what waypoints do at a service's ports. selector: of pods, which no
    waypoint looks at; patches: those that waypoints may follow, in order.
    """

    namespace: str
    name: str
    selector: Labels
    targets: tuple[TargetRef, ...]
    priority: int
    patches: tuple[ConfigPatch, ...]
    origin: Origin = field(compare=False)

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key("EnvoyFilter", self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class BodyCheck:
    """How much of a body an authorization server gets. partial: the first of longer ones."""

    limit: int
    partial: bool = False
    as_bytes: bool = False


@dataclass(frozen=True, slots=True)
class AuthzProvider:
    """An authorization server that policies may name. http: it is asked so, not by gRPC.

    service: a hostname, maybe with its namespace and / before it; headers: that it gets,
    with a * before or after; add: beside them; upstream, on_deny, on_allow: of its answer,
    what goes to the endpoint, and to the client that is refused or let in.
    """

    name: str
    service: str
    port: int
    http: bool
    path: str = field(compare=False)
    origin: Origin = field(compare=False)
    timeout: float = 600.0
    fail_open: bool = False
    status: int = 403
    prefix: str = ""
    headers: tuple[str, ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    body: BodyCheck | None = None
    upstream: tuple[str, ...] = ()
    on_deny: tuple[str, ...] = ()
    on_allow: tuple[str, ...] = ()
    reroute: bool = False


class PathNormalization(StrEnum):
    """How waypoints read paths. DEFAULT is BASE."""

    DEFAULT = "DEFAULT"
    NONE = "NONE"
    BASE = "BASE"
    MERGE_SLASHES = "MERGE_SLASHES"
    DECODE_AND_MERGE_SLASHES = "DECODE_AND_MERGE_SLASHES"


@dataclass(frozen=True, slots=True)
class MeshConfig:
    """What holds for the whole mesh: the ConfigMap istio of the root namespace."""

    namespace: str
    name: str
    providers: tuple[AuthzProvider, ...]
    origin: Origin = field(compare=False)
    paths: PathNormalization = PathNormalization.DEFAULT

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key("ConfigMap", self.namespace, self.name)
