"""What Gateway API routes name: parents, whose requests they route, and backends."""

from __future__ import annotations

from deploy.standalone.control.gatewayapi import ParentRef
from deploy.standalone.control.manifests.entries import GROUP as ISTIO
from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.gateways import GROUP
from deploy.standalone.control.objects import hostname
from deploy.standalone.control.routing import NO_EDITS, BackendRef, Edits

MAX_WEIGHT = 1_000_000
PARENTS = {("", "Service"), (ISTIO, "ServiceEntry")}
BACKENDS = {("", "Service"), (ISTIO, "Hostname")}


def read_parents(spec: Fields, namespace: str) -> tuple[ParentRef, ...]:
    """Read ``parentRefs``, those that are of no use left out."""
    if not spec.has("parentRefs"):
        spec.notice("parentRefs", "without effect: name a Service")
    found = [read_parent(inner, namespace) for inner in spec.children("parentRefs")]
    return tuple(parent for parent in found if parent)


def read_parent(fields: Fields, namespace: str) -> ParentRef | None:
    """Read one of ``parentRefs``; None, with a notice, when nobody asks it."""
    group, kind = fields.text("group", GROUP), fields.text("kind", "Gateway")
    parent = ParentRef(
        namespace=fields.text("namespace") or namespace,
        name=fields.required("name"),
        port=fields.integer("port", 0, 1, 65535) if fields.has("port") else None,
        section=fields.text("sectionName"),
        origin=fields.origin,
        path=fields.path,
        kind=kind,
    )
    fields.end()
    if (group, kind) not in PARENTS:
        fields.notice(
            "kind",
            f"without effect: {kind} {parent.name} takes no requests; name a "
            'Service (kind: Service, group: "")',
        )
        return None
    return parent


def read_backend(
    fields: Fields, namespace: str, *, edits: Edits = NO_EDITS, weighted: bool = True
) -> BackendRef:
    """Read a backend reference: a Service, of this namespace when none is given."""
    group, kind = fields.text("group"), fields.text("kind", "Service")
    if (group, kind) not in BACKENDS:
        fields.wrong(
            "kind",
            f"not supported: {kind}{' of ' + group if group else ''}; requests go to "
            f"Services, or to a Hostname of {ISTIO}",
        )
    port = fields.integer("port", 0, 1, 65535)
    if fields.value("port") is None:
        fields.wrong("port", "missing: a Service may have several")
    place, name = fields.text("namespace") or namespace, fields.required("name")
    backend = BackendRef(
        namespace=place,
        name=name,
        host=name.lower() if kind == "Hostname" else hostname(name, place),
        port=port,
        weight=fields.integer("weight", 1, 0, MAX_WEIGHT) if weighted else 1,
        origin=fields.origin,
        path=fields.path,
        kind=kind,
        edits=edits,
    )
    fields.end()
    return backend
