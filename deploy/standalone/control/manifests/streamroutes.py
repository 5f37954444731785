"""TCPRoutes and TLSRoutes of Services."""

from __future__ import annotations

from pathlib import Path

from deploy.standalone.control.gatewayapi import StreamRoute
from deploy.standalone.control.manifests.entries import HOST_NAME
from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.metadata import read_metadata
from deploy.standalone.control.manifests.parents import read_backend, read_parents
from deploy.standalone.control.manifests.routes import UNSUPPORTED
from deploy.standalone.control.routing import StreamRule


def read_tcp_route(document: Fields, _folder: Path | None) -> StreamRoute:
    """Read a TCPRoute."""
    return read_stream_route(document, "TCPRoute")


def read_tls_route(document: Fields, _folder: Path | None) -> StreamRoute:
    """Read a TLSRoute; what it routes stays encrypted."""
    return read_stream_route(document, "TLSRoute")


def read_stream_route(document: Fields, kind: str) -> StreamRoute:
    """Read either kind."""
    metadata = read_metadata(document)
    document.ignore("status")
    spec = document.child("spec")
    if spec.missing:
        document.wrong("spec", "missing")
    spec.unsupported(UNSUPPORTED)
    names = read_names(spec) if kind == "TLSRoute" else ()
    rules = spec.children("rules")
    if not rules and not spec.missing:
        spec.wrong("rules", "missing: give one")
    if len(rules) > 1:
        spec.wrong("rules", "nothing tells rules apart: give one with all backends")
    route = StreamRoute(
        namespace=metadata.namespace,
        name=metadata.name,
        kind=kind,
        parents=read_parents(spec, metadata.namespace),
        rules=tuple(read_rule(inner, metadata.namespace, names) for inner in rules),
        origin=document.origin,
    )
    spec.end()
    return route


def read_rule(fields: Fields, namespace: str, names: tuple[str, ...]) -> StreamRule:
    """Read one of ``rules``."""
    fields.ignore("name")
    backends = tuple(read_backend(inner, namespace) for inner in fields.children("backendRefs"))
    fields.end()
    return StreamRule(backends, names)


def read_names(spec: Fields) -> tuple[str, ...]:
    """Read ``hostnames``: names of servers, or *. and the end of some; () for all."""
    names = tuple(name.lower() for name in spec.texts("hostnames"))
    for index, name in enumerate(names):
        if not HOST_NAME.fullmatch(name.removeprefix("*.")):
            spec.wrong("hostnames", f"[{index}]: {name!r} is no host name, nor *. and one")
    return names
