"""Istio's policies, services and workloads as frozen values, as far as a mesh has use for
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from deploy.standalone.control.extensionapi import TargetRef
from deploy.standalone.control.objects import (
    NOWHERE,
    IpAddress,
    IpNetwork,
    Key,
    Labels,
    Locality,
    Transport,
    Visibility,
)
from deploy.standalone.control.problems import Origin

#: Where a policy without a selector is the whole mesh's.
ROOT_NAMESPACE = "istio-system"


class Action(StrEnum):
    """What an AuthorizationPolicy does with what it matches."""

    ALLOW = "ALLOW"
    DENY = "DENY"
    AUDIT = "AUDIT"
    CUSTOM = "CUSTOM"


#: A source's or an operation's fields, in Istio's words, with their values.
Attributes = Mapping[str, tuple[str, ...]]


def positive(field: str) -> str:
    """A field without its ``not``."""
    if not field.startswith("not"):
        return field
    rest = field.removeprefix("not")
    return rest[0].lower() + rest[1:]


@dataclass(frozen=True, slots=True)
class Condition:
    """An attribute that must have one of the values, and none of not_values."""

    key: str
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """One of the sources, one of the operations, and every condition; () for any."""

    sources: tuple[Attributes, ...] = ()
    operations: tuple[Attributes, ...] = ()
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class AuthorizationPolicy:
    """Who may do what. selector: {} for all workloads of the namespace.

    targets: what it is attached to instead; only waypoints serve those. provider: whom
    a CUSTOM one has asked.
    """

    namespace: str
    name: str
    action: Action
    selector: Labels
    targets: tuple[TargetRef, ...]
    rules: tuple[PolicyRule, ...]
    origin: Origin = field(compare=False)
    dry_run: bool = False
    provider: str = ""

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key("AuthorizationPolicy", self.namespace, self.name)


class MtlsMode(StrEnum):
    """Whether an identity must be proven. UNSET: as the next wider level says.

    DISABLE counts as PERMISSIVE, as in ambient.
    """

    UNSET = "UNSET"
    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"
    STRICT = "STRICT"


@dataclass(frozen=True, slots=True)
class PeerAuthentication:
    """Who must prove who they are. selector: {} for the whole namespace, or mesh.

    ports: of the workloads that are selected, where they differ.
    """

    namespace: str
    name: str
    selector: Labels
    mode: MtlsMode
    ports: Mapping[int, MtlsMode]
    origin: Origin = field(compare=False)

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key("PeerAuthentication", self.namespace, self.name)


class Resolution(StrEnum):
    """How a ServiceEntry's endpoints are found."""

    NONE = "NONE"
    STATIC = "STATIC"
    DNS = "DNS"
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"

    @property
    def by_name(self) -> bool:
        """Whether endpoints are hostnames to resolve."""
        return self in {Resolution.DNS, Resolution.DNS_ROUND_ROBIN}


@dataclass(frozen=True, slots=True)
class EntryPort:
    """A ServiceEntry's port. protocol: in Istio's words, in capitals."""

    name: str
    port: int
    protocol: str
    target: int

    @property
    def transport(self) -> Transport:
        """The port's transport."""
        return Transport.UDP if self.protocol == "UDP" else Transport.TCP


@dataclass(frozen=True, slots=True)
class Outside:
    """Something that runs and is no pod. address: an IP address, or a hostname.

    ports: by name, where they differ from the service's; weight: 0 for none given.
    """

    address: IpAddress | str
    ports: Mapping[str, int] = field(default_factory=dict)
    labels: Labels = field(default_factory=dict)
    weight: int = 0
    locality: Locality = NOWHERE
    network: str = ""
    service_account: str = ""


@dataclass(frozen=True, slots=True)
class WorkloadEntry:
    """Something that runs and is no pod, as an object of its own.

    labels: the object's and spec.labels together. tunnel: it takes HBONE.
    """

    namespace: str
    name: str
    labels: Labels
    outside: Outside
    origin: Origin = field(compare=False)
    tunnel: bool = False

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key("WorkloadEntry", self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """Hosts that are services of the mesh wherever they run.

    addresses: single ones and ranges; none: given by the control plane, where
    auto_allocate says so. selector: {} for none.
    """

    namespace: str
    name: str
    labels: Labels
    hosts: tuple[str, ...]
    addresses: tuple[IpNetwork, ...]
    ports: tuple[EntryPort, ...]
    resolution: Resolution
    endpoints: tuple[Outside, ...]
    selector: Labels
    origin: Origin = field(compare=False)
    visibility: Visibility = Visibility.PUBLIC
    subject_alt_names: tuple[str, ...] = ()
    distribution: str = ""
    auto_allocate: bool = True
    tunnel: bool = False

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key("ServiceEntry", self.namespace, self.name)
