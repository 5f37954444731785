"""PeerAuthentications."""

from __future__ import annotations

from pathlib import Path

from deploy.standalone.control.istioapi import MtlsMode, PeerAuthentication
from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.metadata import read_metadata

MODES = list(MtlsMode)
DISABLED = (
    "DISABLE counts as PERMISSIVE: between nodes, pods of the mesh talk by mutual TLS always"
)


def read_authentication(document: Fields, _folder: Path | None) -> PeerAuthentication:
    """Read a PeerAuthentication, with Istio's own rules for what is valid."""
    metadata = read_metadata(document)
    document.ignore("status")
    spec = document.child("spec")
    selector = spec.child("selector")
    labels = selector.labels("matchLabels")
    for key, value in labels.items():
        if "*" in key or "*" in value:
            selector.wrong("matchLabels", f"{key}: {value} has a *: labels are compared whole")
    mode = read_mode(spec.child("mtls"))
    ports = read_ports(spec.child("portLevelMtls"))
    if ports and not labels:
        spec.wrong(
            "portLevelMtls",
            "needs a selector: ports are of workloads, not of a namespace or the mesh",
        )
    selector.end()
    spec.end()
    return PeerAuthentication(
        namespace=metadata.namespace,
        name=metadata.name,
        selector=labels,
        mode=mode,
        ports=ports,
        origin=document.origin,
    )


def read_ports(fields: Fields) -> dict[int, MtlsMode]:
    """Read ``portLevelMtls``: port → mode, by number."""
    found = {}
    if not fields.missing and not fields.values and not fields.report.failed:
        fields.wrong("", "is empty: name a port, or leave it out")
    for name in fields.values:
        mode = read_mode(fields.child(name))
        if not name.isdecimal() or not 1 <= int(name) <= 65535:
            fields.wrong(name, f"{name!r} is no port from 1 to 65535")
        else:
            found[int(name)] = mode
    return dict(sorted(found.items()))


def read_mode(fields: Fields) -> MtlsMode:
    """Read a ``mode``; UNSET where nothing is said."""
    mode = MtlsMode(fields.choice("mode", MODES, MtlsMode.UNSET))
    if mode is MtlsMode.DISABLE:
        fields.notice("mode", DISABLED)
    fields.end()
    return mode
