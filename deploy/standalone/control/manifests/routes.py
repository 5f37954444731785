"""HTTPRoutes whose parent is a Service.

What can't be done is an error: a route that is followed in part would send
requests where its author didn't want them.
"""

from __future__ import annotations

import re
from pathlib import Path

from deploy.standalone.control.gatewayapi import (
    BackendRef,
    HttpRoute,
    ParentRef,
    RouteMatch,
    RouteRule,
)
from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.gateways import GROUP
from deploy.standalone.control.manifests.matches import read_match
from deploy.standalone.control.manifests.metadata import read_metadata

MAX_WEIGHT = 1_000_000
#: GEP-2257: a number and a unit, up to four times.
DURATION = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")
SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
NO_FILTERS = "requests are routed, not changed, so far"


def read_route(document: Fields, _folder: Path | None) -> HttpRoute:
    """Read an HTTPRoute."""
    metadata = read_metadata(document)
    document.ignore("status")
    spec = document.child("spec")
    if spec.missing:
        document.wrong("spec", "missing")
    spec.unsupported({"useDefaultGateways": "name a Service in parentRefs"})
    if spec.has("hostnames"):
        spec.notice("hostnames", "without effect: a Service's route holds for all of its names")
    parents = [read_parent(inner, metadata.namespace) for inner in spec.children("parentRefs")]
    if not spec.has("parentRefs"):
        spec.notice("parentRefs", "without effect: name a Service")
    if spec.has("rules"):
        rules = tuple(read_rule(inner, metadata.namespace) for inner in spec.children("rules"))
    else:
        rules = (RouteRule((RouteMatch(),), ()),)
    spec.end()
    return HttpRoute(
        namespace=metadata.namespace,
        name=metadata.name,
        parents=tuple(parent for parent in parents if parent),
        rules=rules,
        origin=document.origin,
    )


def read_parent(fields: Fields, namespace: str) -> ParentRef | None:
    """Read one of ``parentRefs``; None, with a notice, when it is no Service."""
    group, kind = fields.text("group", GROUP), fields.text("kind", "Gateway")
    name = fields.required("name")
    port = fields.integer("port", 0, 1, 65535) if fields.has("port") else None
    section = fields.text("sectionName")
    elsewhere = fields.text("namespace") or namespace
    fields.end()
    if (group, kind) != ("", "Service"):
        fields.notice(
            "kind",
            f"without effect: {kind} {name} takes no requests; name a "
            'Service (kind: Service, group: "")',
        )
        return None
    if elsewhere != namespace:
        fields.wrong(
            "namespace",
            "not supported: a route for requests from its own namespace "
            f"to a Service of {elsewhere}; put it there",
        )
    return ParentRef(name, port, section, fields.origin, fields.path)


def read_rule(fields: Fields, namespace: str) -> RouteRule:
    """Read one of ``rules``."""
    fields.ignore("name")
    fields.unsupported(
        {
            "filters": NO_FILTERS,
            "retry": "requests are not repeated so far",
            "sessionPersistence": "each request chooses anew",
        }
    )
    matches = tuple(read_match(inner) for inner in fields.children("matches"))
    timeouts = fields.child("timeouts")
    timeouts.unsupported({"backendRequest": "requests are not repeated; use request"})
    rule = RouteRule(
        matches=matches or (RouteMatch(),),
        backends=tuple(read_backend(b, namespace) for b in fields.children("backendRefs")),
        timeout=read_duration(timeouts, "request"),
    )
    timeouts.end()
    fields.end()
    return rule


def read_backend(fields: Fields, namespace: str) -> BackendRef:
    """Read one of ``backendRefs``: a Service, of this namespace when none is given."""
    fields.unsupported({"filters": NO_FILTERS})
    group, kind = fields.text("group"), fields.text("kind", "Service")
    if (group, kind) != ("", "Service"):
        fields.wrong(
            "kind",
            f"not supported: {kind}{' of ' + group if group else ''}; requests go to Services",
        )
    port = fields.integer("port", 0, 1, 65535)
    if fields.value("port") is None:
        fields.wrong("port", "missing: a Service may have several")
    backend = BackendRef(
        namespace=fields.text("namespace") or namespace,
        name=fields.required("name"),
        port=port,
        weight=fields.integer("weight", 1, 0, MAX_WEIGHT),
        origin=fields.origin,
        path=fields.path,
    )
    fields.end()
    return backend


def read_duration(fields: Fields, name: str) -> float:
    """A Gateway API duration in seconds; 0 when absent, and for "0s"."""
    text = fields.text(name)
    if not text:
        return 0.0
    if not DURATION.fullmatch(text):
        fields.wrong(name, f'{text!r} is no duration: write it as "10s", "500ms" or "1m30s"')
        return 0.0
    parts = re.findall(r"([0-9]+)(ms|h|m|s)", text)
    return sum(int(number) * SECONDS[unit] for number, unit in parts)
