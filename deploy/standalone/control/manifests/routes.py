"""HTTPRoutes of Services.

What can't be done is an error: a route that is followed in part would send
requests where its author didn't want them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deploy.standalone.control.gatewayapi import HttpRoute
from deploy.standalone.control.manifests.durations import read_duration
from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.filters import (
    BODIES,
    OF_BACKENDS,
    Filters,
    read_filters,
)
from deploy.standalone.control.manifests.matches import ANYTHING, read_match
from deploy.standalone.control.manifests.metadata import read_metadata
from deploy.standalone.control.manifests.parents import read_backend, read_parents
from deploy.standalone.control.manifests.texts import TOKEN
from deploy.standalone.control.routing import (
    DEFAULT_RETRY,
    BackendRef,
    MatchKind,
    PathEditKind,
    Persistence,
    Retry,
    RouteMatch,
    RouteRule,
)

#: GEP-1731: a retry stanza asks for these, whatever statuses it lists.
RETRY_ON = ("connect-failure", "refused-stream", "reset", "retriable-status-codes")
UNSUPPORTED = {"useDefaultGateways": "name a Service in parentRefs"}
HOSTNAMES = "without effect: a Service's route holds for all of its names"


def read_route(document: Fields, _folder: Path | None) -> HttpRoute:
    """Read an HTTPRoute."""
    return read_frame(document, "HTTPRoute", read_rule, (RouteRule((ANYTHING,)),))


def read_frame(
    document: Fields,
    kind: str,
    read: Callable[[Fields, str], RouteRule],
    default: tuple[RouteRule, ...] = (),
) -> HttpRoute:
    """Read what HTTPRoutes and GRPCRoutes have in common.

    read: one of ``rules``, in a namespace; default: the rules where there are none.
    """
    metadata = read_metadata(document)
    document.ignore("status")
    spec = document.child("spec")
    if spec.missing:
        document.wrong("spec", "missing")
    spec.unsupported(UNSUPPORTED)
    if spec.has("hostnames"):
        spec.notice("hostnames", HOSTNAMES)
    parents = read_parents(spec, metadata.namespace)
    rules = tuple(read(inner, metadata.namespace) for inner in spec.children("rules"))
    if not spec.has("rules"):
        rules = default
    spec.end()
    return HttpRoute(
        namespace=metadata.namespace,
        name=metadata.name,
        parents=parents,
        rules=rules,
        origin=document.origin,
        kind=kind,
    )


def read_rule(fields: Fields, namespace: str) -> RouteRule:
    """Read one of ``rules``."""
    matches = tuple(read_match(inner) for inner in fields.children("matches"))
    matches = matches or (ANYTHING,)
    filters = read_filters(fields, namespace, tuple(BODIES))
    check_prefix(fields, filters, matches)
    timeouts = fields.child("timeouts")
    request = read_duration(timeouts, "request")
    each = read_duration(timeouts, "backendRequest")
    if request and each > request:
        timeouts.wrong("backendRequest", "is longer than request, which includes it")
    rule = RouteRule(
        matches=matches,
        backends=read_backends(fields, namespace),
        action=filters.redirect,
        name=fields.text("name"),
        timeout=request,
        try_timeout=each,
        retry=read_retry(fields),
        edits=filters.edits,
        authority=filters.host,
        path=filters.path,
        mirrors=filters.mirrors,
        cors=filters.cors,
        persistence=read_persistence(fields),
    )
    if filters.redirect and rule.backends:
        fields.wrong("backendRefs", "can't stand beside a RequestRedirect: nothing is sent")
    timeouts.end()
    fields.end()
    return rule


def read_backends(fields: Fields, namespace: str) -> tuple[BackendRef, ...]:
    """Read ``backendRefs``, with the filters of each."""
    return tuple(
        read_backend(inner, namespace, edits=read_filters(inner, namespace, OF_BACKENDS).edits)
        for inner in fields.children("backendRefs")
    )


def check_prefix(fields: Fields, filters: Filters, matches: tuple[RouteMatch, ...]) -> None:
    """Report a prefix that is to be replaced where no prefix is matched."""
    path = filters.path or (filters.redirect.path if filters.redirect else None)
    if path is None or path.kind is not PathEditKind.SEGMENTS:
        return
    if any(match.path.kind is not MatchKind.SEGMENTS for match in matches):
        fields.wrong("filters", "ReplacePrefixMatch needs matches of path type PathPrefix")


def read_persistence(fields: Fields) -> Persistence | None:
    """Read ``sessionPersistence``."""
    inner = fields.child("sessionPersistence")
    if inner.missing:
        return None
    header = inner.choice("type", ("Cookie", "Header"), "Cookie") == "Header"
    name = inner.text("sessionName")
    if name and not TOKEN.fullmatch(name):
        inner.wrong("sessionName", f"{name!r} can't be the name of a cookie or header")
    config = inner.child("cookieConfig")
    if header and not config.missing:
        inner.wrong("cookieConfig", "goes with type Cookie only")
    lasting = config.choice("lifetimeType", ("Session", "Permanent"), "Session") == "Permanent"
    lifetime = read_duration(inner, "absoluteTimeout")
    if lasting and not lifetime:
        inner.wrong("absoluteTimeout", "missing: a Permanent cookie needs it")
    if lifetime and (header or not lasting):
        inner.wrong("absoluteTimeout", "goes with a cookie of lifetimeType Permanent only")
    idle = read_duration(inner, "idleTimeout")
    if inner.has("idleTimeout") and (idle < 1 or idle % 1):
        said = inner.text("idleTimeout")
        inner.wrong("idleTimeout", f"{said!r}: give whole seconds, from 1s")
    config.end()
    inner.end()
    return Persistence(name, header, lifetime, int(idle))


def read_retry(fields: Fields) -> Retry:
    """Read ``retry``; what it says of statuses goes beside broken connections."""
    inner = fields.child("retry")
    if inner.missing:
        return DEFAULT_RETRY
    statuses = []
    for node in inner.items("codes"):
        status = int(node.value) if str(node.value).isdecimal() else 0
        if not 400 <= status <= 599:
            inner.wrong("codes", f"{node.value!r} is no status from 400 to 599")
        statuses.append(status)
    retry = Retry(
        attempts=inner.integer("attempts", DEFAULT_RETRY.attempts, 0, 1000),
        on=RETRY_ON,
        statuses=tuple(statuses),
        backoff=read_duration(inner, "backoff"),
    )
    inner.end()
    return retry
