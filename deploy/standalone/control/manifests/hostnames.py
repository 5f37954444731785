"""Host names as Istio's traffic objects write them, and whom those objects are for."""

from __future__ import annotations

from deploy.standalone.control.manifests.entries import HOST_NAME
from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.metadata import LABEL
from deploy.standalone.control.objects import hostname
from deploy.standalone.control.trafficapi import EVERYONE, OWN


def read_host(fields: Fields, field: str, text: str, namespace: str) -> str:
    """A full name: a name without dots is a Service's of this namespace (Istio)."""
    host = text.lower()
    if host == "*":
        return host
    if text and not HOST_NAME.fullmatch(host.removeprefix("*.")):
        fields.wrong(field, f"{text!r} is no host name, nor *. and a host name")
    return host if "." in host or not host else hostname(host, namespace)


def read_visible(spec: Fields, namespace: str) -> tuple[str, ...]:
    """Read ``exportTo``: the namespaces that the object is for, () for all."""
    values = spec.texts("exportTo")
    found = []
    for value in values:
        if value not in {EVERYONE, OWN} and not LABEL.fullmatch(value):
            spec.wrong("exportTo", f"{value!r} is neither a namespace, nor {OWN}, nor *")
        found.append(namespace if value == OWN else value)
    return () if EVERYONE in found else tuple(dict.fromkeys(found))


def in_mesh(fields: Fields) -> bool:
    """Whether ``gateways`` means the mesh: it does where it is absent."""
    gateways = fields.texts("gateways")
    return not gateways or "mesh" in gateways
