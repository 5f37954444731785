"""What routes come to at a service's port, once names are looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deploy.standalone.control.objects import Key
from deploy.standalone.control.problems import Problem
from deploy.standalone.control.routing import NO_EDITS, Edits, RouteRule
from deploy.standalone.control.trafficapi import Hashing
from deploy.standalone.control.world import Name

#: A host that can't exist (RFC 6761): the share of a backend that can't be used.
INVALID_DOMAIN = "invalid"


def cluster_name(port: int, hostname: str, subset: str = "") -> str:
    """The name of a service's port, or of some endpoints of it, as a destination."""
    return f"outbound|{port}|{subset}|{hostname}"


@dataclass(frozen=True, slots=True)
class Share:
    """A share of a rule's requests. valid: there is a service that may take it."""

    cluster: str
    weight: int
    valid: bool = True
    edits: Edits = NO_EDITS
    authority: str = ""
    hashing: Hashing | None = None


@dataclass(frozen=True, slots=True)
class AttachedRule:
    """A rule with its shares, and the clusters of its mirrors with theirs."""

    name: str
    rule: RouteRule
    shares: tuple[Share, ...] = ()
    mirrors: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that hold together: what none of them matches has no route.

    namespaces: whose requests they are for, () for all; ranked: the Gateway API's,
    where the most specific match comes first, and an unusable backend is a 500.
    """

    namespaces: tuple[str, ...]
    rules: tuple[AttachedRule, ...]
    ranked: bool


@dataclass(frozen=True, slots=True)
class HttpPort:
    """The groups of a port, the narrow ones first, and what holds for the rest."""

    groups: tuple[Group, ...]
    default: Share


@dataclass(frozen=True, slots=True)
class Chain:
    """Connections to TLS servers of these names (() for all) go to the shares.

    namespaces: whose connections, () for all; a namespace that has chains has no others.
    """

    name: str
    names: tuple[str, ...]
    shares: tuple[Share, ...]
    namespaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Attachments:
    """What holds at each service's ports; which objects lead somewhere; problems."""

    http: Mapping[Name, Mapping[int, HttpPort]]
    streams: Mapping[Name, Mapping[int, tuple[Chain, ...]]]
    accepted: Mapping[Key, bool]
    problems: tuple[Problem, ...]
