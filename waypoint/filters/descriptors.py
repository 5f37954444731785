"""Descriptors of requests, by which rate limits are found: pure.

A descriptor is a row of keys and values. An action that has no value to give takes the
whole descriptor with it, unless it may be skipped.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from ipaddress import ip_network
from typing import Any, NamedTuple

from waypoint.filters.verdicts import Asked
from waypoint.routing.actions import Forward
from waypoint.routing.conditions import parse_query
from waypoint.routing.limits import (
    DestinationCluster,
    GenericKey,
    LimitAction,
    Metadata,
    QueryParameter,
    RateLimit,
    RemoteAddress,
    RequestHeader,
    ValueMatch,
)
from waypoint.routing.notes import Notes
from waypoint.routing.table import Route
from waypoint.routing.templates import Facts

#: Where metadata tells who asks, as for routes.
SOURCE = "tandem.io/source"
Entry = tuple[str, str]
#: An action's answer where there is nothing to add, and that is fine.
SKIPPED: Entry = ("", "")


class Descriptor(NamedTuple):
    """What a request counts as; hits: for how many, None for what the filter says."""

    entries: tuple[Entry, ...]
    hits: int | None = None


class HostLimits(IntEnum):
    """Whether a virtual host's limits hold: where the route has none, too, or never."""

    OVERRIDE = 0
    INCLUDE = 1
    IGNORE = 2


def limits_of(route: Route | None, host: HostLimits | None = None) -> tuple[RateLimit, ...]:
    """The limits that hold for a route's requests; host: what the filter says, if it does."""
    action = route.action if route is not None else None
    if not isinstance(action, Forward):
        return ()
    if host is None:
        host = HostLimits.INCLUDE if action.include_host_limits else HostLimits.OVERRIDE
    if host is HostLimits.IGNORE or (host is HostLimits.OVERRIDE and action.limits):
        return action.limits
    return action.limits + action.host_limits


def descriptors(
    limits: Iterable[RateLimit], stage: int, asked: Asked, cluster: str
) -> tuple[Descriptor, ...]:
    """A request's descriptors, in order; cluster: that it is for, or empty."""
    found = [descriptor(each, asked, cluster) for each in limits if each.stage == stage]
    return tuple(each for each in found if each is not None)


def cluster_of(route: Route | None) -> str:
    """The cluster that a route's requests are for; empty where it forwards none."""
    action = route.action if route is not None else None
    return action.clusters[0].name if isinstance(action, Forward) else ""


def descriptor(limit: RateLimit, asked: Asked, cluster: str) -> Descriptor | None:
    """The descriptor that one limit makes, or None."""
    entries = []
    for action in limit.actions:
        found = entry(action, asked, cluster)
        if found is None:
            return None
        if found is not SKIPPED:
            entries.append(found)
    return Descriptor(tuple(entries), limit.hits) if entries else None


def entry(action: LimitAction, asked: Asked, cluster: str) -> Entry | None:
    """What an action adds: SKIPPED for nothing; None: there must be no descriptor."""
    match action:
        case GenericKey(key, value):
            return (key, value)
        case DestinationCluster():
            return ("destination_cluster", cluster) if cluster else None
        case RemoteAddress(bits):
            return remote_address(bits, asked.facts)
        case RequestHeader(header, key, skip):
            return given(key, asked.request.header(header), skip=skip)
        case QueryParameter(parameter, key, skip):
            query = asked.request.path.partition(b"?")[2]
            return given(key, parse_query(query).get(parameter), skip=skip)
        case ValueMatch(key, value):
            return (key, value) if fulfils(action, asked) is action.expected else None
        case Metadata(key, _, _, default, skip):
            text = told(action, asked) or default
            return given(key, text.encode() or None, skip=skip)


def given(key: str, value: bytes | None, *, skip: bool) -> Entry | None:
    """A key with a value, where there is one."""
    if value is None:
        return SKIPPED if skip else None
    return (key, value.decode("utf-8", "replace"))


def remote_address(bits: tuple[int, int] | None, facts: Facts) -> Entry | None:
    """The client's address, or its network."""
    if facts.remote is None:
        return None
    address = facts.remote[0]
    if bits is None:
        return ("remote_address", address)
    network = ip_network((address, bits[":" in address]), strict=False)
    return ("masked_remote_address", str(network))


def fulfils(match: ValueMatch, asked: Asked) -> bool:
    """Whether a request fulfils all conditions."""
    if not all(condition.accepts(asked.request) for condition in match.headers):
        return False
    if not match.query:
        return True
    parameters = parse_query(asked.request.path.partition(b"?")[2])
    return all(condition.accepts(parameters) for condition in match.query)


def told(action: Metadata, asked: Asked) -> str:
    """The text that metadata has at a path; empty where there is none."""
    if action.filter == SOURCE:
        source = asked.source
        known: Notes = {
            "principal": asked.facts.identity,
            "namespace": source.namespace,
            "labels": source.labels,
        }
        return text_at(known, action.path)
    return text_at(asked.notes.get(action.filter), action.path)


def text_at(value: Any, path: Iterable[str]) -> str:
    """The text at a path of mappings; empty where there is none."""
    for key in path:
        value = value.get(key) if hasattr(value, "get") else None
    return value if isinstance(value, str) else ""
