"""Gateways of the waypoint classes, and ReferenceGrants."""

from __future__ import annotations

from pathlib import Path

from deploy.standalone.control.gatewayapi import (
    HBONE_PORT,
    WAYPOINT_CLASSES,
    From,
    Gateway,
    Listener,
    ReferenceGrant,
)
from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.metadata import SERVICE, check_name, read_metadata

GROUP = "gateway.networking.k8s.io"
#: Istio's annotation: endpoints are told who the client is.
CLIENT_IDENTITY = "ambient.istio.io/xfcc-include-client-identity"
ROUTES = ("HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute")


def read_gateway(document: Fields, _folder: Path | None) -> Gateway | None:
    """Read a Gateway; None, with a notice, when it is of another class."""
    metadata = read_metadata(document, names=SERVICE)
    document.ignore("status")
    spec = document.child("spec")
    gateway_class = spec.required("gatewayClassName")
    if gateway_class and gateway_class not in WAYPOINT_CLASSES:
        spec.notice(
            "gatewayClassName",
            f"Gateways of class {gateway_class} are ignored; waypoints are of class "
            + " or ".join(WAYPOINT_CLASSES),
        )
        return None
    spec.unsupported(
        {
            "addresses": "a waypoint's Service has a cluster IP of its own",
            "tls": "a waypoint has the mesh's certificates",
            "allowedListeners": "a waypoint has one listener",
        }
    )
    spec.without_effect({"infrastructure": "a waypoint's pod is made by the control plane"})
    inner = spec.children("listeners")
    if not inner and not spec.missing:
        spec.wrong("listeners", f"missing: give one of protocol HBONE, port {HBONE_PORT}")
    listeners = tuple(read_listener(fields) for fields in inner)
    spec.end()
    return Gateway(
        namespace=metadata.namespace,
        name=metadata.name,
        gateway_class=gateway_class,
        labels=metadata.labels,
        listeners=listeners,
        origin=document.origin,
        client_identity=metadata.annotations.boolean(CLIENT_IDENTITY),
    )


def read_listener(fields: Fields) -> Listener:
    """Read one of ``listeners``."""
    name = fields.required("name")
    port = fields.integer("port", 0, 1, 65535)
    protocol = fields.required("protocol")
    if protocol and (protocol != "HBONE" or port != HBONE_PORT):
        fields.wrong("protocol", f"a waypoint's listener is protocol HBONE, port {HBONE_PORT}")
    why = "a waypoint serves the hosts of its Services"
    fields.unsupported({"hostname": why, "tls": why})
    allowed = fields.child("allowedRoutes")
    allowed.ignore("kinds")
    namespaces = allowed.child("namespaces")
    users = From(namespaces.choice("from", list(From), From.SAME))
    selector = namespaces.child("selector")
    selector.unsupported({"matchExpressions": "use matchLabels"})
    labels = selector.labels("matchLabels")
    if users is From.SELECTOR and not labels:
        namespaces.wrong("selector", "missing: name labels of namespaces in matchLabels")
    for part in (selector, namespaces, allowed, fields):
        part.end()
    return Listener(name, port, users, labels)


def read_grant(document: Fields, _folder: Path | None) -> ReferenceGrant:
    """Read a ReferenceGrant: from routes, to Services."""
    metadata = read_metadata(document)
    spec = document.child("spec")
    sources = []
    for origin in spec.children("from"):
        group, kind = origin.text("group"), origin.required("kind")
        namespace = origin.required("namespace")
        if group == GROUP and kind in ROUTES:
            sources.append((kind, namespace))
        else:
            origin.notice("kind", f"without effect: {kind} names no Services here")
        origin.end()
    names = []
    everything = False
    for target in spec.children("to"):
        group, kind = target.text("group"), target.required("kind")
        name = target.text("name")
        if name:
            check_name(target, "name", name, SERVICE)
        if (group, kind) != ("", "Service"):
            target.notice("kind", f"without effect: routes name no {kind} here")
        elif name:
            names.append(name)
        else:
            everything = True
        target.end()
    for field in ("from", "to"):
        if not spec.has(field):
            spec.wrong(field, "missing")
    spec.end()
    return ReferenceGrant(
        namespace=metadata.namespace,
        name=metadata.name,
        sources=tuple(sources),
        names=tuple(names),
        everything=everything,
        origin=document.origin,
    )
