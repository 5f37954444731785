"""What routes say of rate limits: Envoy's RateLimit and its actions, as data."""

from __future__ import annotations

from dataclasses import dataclass

from waypoint.routing.conditions import HeaderMatch, QueryMatch


@dataclass(frozen=True, slots=True)
class DestinationCluster:
    """The cluster that the request is for; where a route splits, its first one."""


@dataclass(frozen=True, slots=True)
class RequestHeader:
    """A header's value. skip: without it the action adds nothing."""

    header: bytes
    key: str
    skip: bool = False


@dataclass(frozen=True, slots=True)
class QueryParameter:
    """A query parameter's first value. skip: without it the action adds nothing."""

    parameter: bytes
    key: str
    skip: bool = False


@dataclass(frozen=True, slots=True)
class RemoteAddress:
    """The client's address; bits: of its network, for IPv4 and IPv6, None for all of it."""

    bits: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class GenericKey:
    """A key and a value that are always the same."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class ValueMatch:
    """A value for requests whose headers and query parameters fulfil all conditions.

    expected: False for those that don't fulfil all.
    """

    key: str
    value: str
    expected: bool = True
    headers: tuple[HeaderMatch, ...] = ()
    query: tuple[QueryMatch, ...] = ()


@dataclass(frozen=True, slots=True)
class Metadata:
    """A text of the notes, under a filter's name, or of who asks (``tandem.io/source``:
    principal, namespace, or labels and a name).

    default: in place of one that isn't there; skip: as a header's.
    """

    key: str
    filter: str
    path: tuple[str, ...]
    default: str = ""
    skip: bool = False


LimitAction = (
    DestinationCluster
    | RequestHeader
    | QueryParameter
    | RemoteAddress
    | GenericKey
    | ValueMatch
    | Metadata
)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Actions that make one descriptor together, for the filters of a stage.

    hits: how many requests one counts for; None: the filter's own.
    """

    actions: tuple[LimitAction, ...]
    stage: int = 0
    hits: int | None = None
