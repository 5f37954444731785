"""VirtualServices: what concerns hosts, TLS and TCP; HTTP is in ``virtualhttp``."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.hostnames import in_mesh, read_host, read_visible
from deploy.standalone.control.manifests.metadata import read_metadata
from deploy.standalone.control.manifests.virtualhttp import (
    check_sum,
    read_destination,
    read_http,
)
from deploy.standalone.control.routing import BackendRef, StreamRule
from deploy.standalone.control.trafficapi import VirtualService

NO_SOURCE = {
    "sourceLabels": "only http routes know the labels of who asks; use an AuthorizationPolicy",
    "sourceNamespace": "a VirtualService of that namespace is for its connections alone",
    "sourceSubnet": "name workloads by labels or namespace, in http routes",
}


def read_virtual_service(document: Fields, _folder: Path | None) -> VirtualService | None:
    """Read a VirtualService; None, with a notice, when it is only for ingress gateways."""
    metadata = read_metadata(document)
    document.ignore("status")
    spec = document.child("spec")
    if not in_mesh(spec):
        spec.notice("gateways", "without effect: no gateway here takes requests; name mesh")
        return None
    if not spec.has("hosts"):
        check_delegate(spec)
    hosts = tuple(
        read_host(spec, f"hosts[{index}]", text, metadata.namespace)
        for index, text in enumerate(spec.texts("hosts"))
    )
    for host in {each for each in hosts if hosts.count(each) > 1}:
        spec.wrong("hosts", f"{host} is there twice")
    kinds = ("http", "tls", "tcp")
    if not any(spec.has(kind) for kind in kinds):
        spec.wrong("http", f"missing: give one of {', '.join(kinds)}")
    http = [read_http(inner, metadata.namespace) for inner in spec.children("http")]
    service = VirtualService(
        namespace=metadata.namespace,
        name=metadata.name,
        hosts=hosts,
        visible=read_visible(spec, metadata.namespace),
        http=tuple(rule for rule in http if rule),
        tls=read_streams(spec, "tls", metadata.namespace),
        tcp=read_streams(spec, "tcp", metadata.namespace),
        origin=document.origin,
    )
    spec.end()
    return service


def check_delegate(spec: Fields) -> None:
    """Report what one without hosts can't have: it is there for others to delegate to."""
    for kind in ("tls", "tcp"):
        if spec.has(kind):
            spec.wrong("hosts", f"missing: name the hosts whose {kind} is routed")
    for inner in spec.children("http"):
        if inner.has("delegate"):
            inner.wrong("delegate", "a VirtualService without hosts can't delegate further")


def read_streams(spec: Fields, name: str, namespace: str) -> tuple[StreamRule, ...]:
    """Read ``tls`` or ``tcp``: each of its matches is a rule."""
    found: list[StreamRule] = []
    for inner in spec.children(name):
        backends = read_backends(inner, namespace)
        matches = inner.children("match")
        if name == "tls" and not matches:
            inner.wrong("match", "missing: name sniHosts")
        if not matches:
            found.append(StreamRule(backends))
        for match in matches:
            rule = read_match(match, backends, sni=name == "tls")
            if rule:
                found.append(rule)
        inner.end()
    return tuple(found)


def read_match(
    fields: Fields, backends: tuple[BackendRef, ...], *, sni: bool
) -> StreamRule | None:
    """Read one of ``match``; None when only ingress gateways are meant."""
    fields.unsupported(NO_SOURCE)
    subnets = fields.texts("destinationSubnets")
    for text in subnets:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            fields.wrong("destinationSubnets", f"{text!r} is neither an address nor a range")
    if subnets:
        fields.unsupported({"destinationSubnets": "a host's addresses all lead to its routes"})
    names: tuple[str, ...] = ()
    if sni:
        names = tuple(
            read_host(
                fields, f"sniHosts[{index}]", text if "." in text or text == "*" else "", ""
            )
            for index, text in enumerate(fields.texts("sniHosts"))
        )
        if not names or not all(names):
            fields.wrong("sniHosts", "needs full names, or *. and the end of some")
    port = fields.integer("port", 0, 1, 65535)
    meant = in_mesh(fields)
    fields.end()
    names = () if "*" in names else names
    return StreamRule(backends, names, port) if meant else None


def read_backends(fields: Fields, namespace: str) -> tuple[BackendRef, ...]:
    """Read ``route`` of a TLS or TCP rule."""
    shares = fields.children("route")
    if not shares:
        fields.wrong("route", "missing: name a destination")
    found = []
    for inner in shares:
        weight = inner.integer("weight", 0 if len(shares) > 1 else 100, 0, (1 << 31) - 1)
        found.append(read_destination(inner, "destination", namespace, weight or 0))
        inner.end()
    return check_sum(fields, tuple(found))
