"""ServiceEntries and WorkloadEntries: services and workloads that no pod is."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

from deploy.standalone.control.istioapi import (
    EntryPort,
    Outside,
    Resolution,
    ServiceEntry,
    WorkloadEntry,
)
from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.metadata import (
    PORT_NAME,
    SUBDOMAIN,
    Metadata,
    check_name,
    read_metadata,
)
from deploy.standalone.control.manifests.services import (
    DISTRIBUTION,
    DISTRIBUTIONS,
    visibility_of,
)
from deploy.standalone.control.objects import IpAddress, IpNetwork, Locality

GROUP = "networking.istio.io"
VERSIONS = tuple(f"{GROUP}/{version}" for version in ("v1", "v1beta1", "v1alpha3"))
AUTO_ALLOCATE = "networking.istio.io/enable-autoallocate-ip"
TUNNEL = "networking.istio.io/tunnel"
REDIRECTION = "ambient.istio.io/redirection"

PROTOCOLS = (
    "TCP", "HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "TLS", "UDP", "MONGO", "MYSQL",
    "REDIS",
)  # fmt: skip
#: A DNS name of a host: labels may begin with an underscore.
HOST_NAME = re.compile(
    r"(?=.{1,253}$)[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9])?"
    r"(\.[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9])?)*"
)
MAX_WEIGHT = (1 << 32) - 1


def read_service_entry(document: Fields, _folder: Path | None) -> ServiceEntry:
    """Read a ServiceEntry."""
    metadata = read_metadata(document, names=SUBDOMAIN)
    document.ignore("status")
    spec = document.child("spec")
    spec.choice("location", ("MESH_EXTERNAL", "MESH_INTERNAL"), "MESH_EXTERNAL")
    resolution = read_resolution(spec)
    ports = tuple(read_port(inner) for inner in spec.children("ports"))
    check_ports(spec, ports)
    names = {port.name for port in ports}
    endpoints = tuple(read_outside(inner, names) for inner in spec.children("endpoints"))
    selector = spec.child("workloadSelector")
    entry = ServiceEntry(
        namespace=metadata.namespace,
        name=metadata.name,
        labels=metadata.labels,
        hosts=read_hosts(spec, resolution, endpoints),
        addresses=read_addresses(spec, resolution),
        ports=ports,
        resolution=resolution,
        endpoints=endpoints,
        selector=selector.labels("labels"),
        origin=document.origin,
        visibility=visibility_of(spec, "exportTo", spec.texts("exportTo"), metadata.namespace),
        subject_alt_names=spec.texts("subjectAltNames"),
        distribution=metadata.annotations.choice(DISTRIBUTION, DISTRIBUTIONS),
        auto_allocate=metadata.labels.get(AUTO_ALLOCATE, "").lower() != "false",
        tunnel=takes_tunnel(metadata),
    )
    check_endpoints(spec, entry)
    selector.end()
    spec.end()
    return entry


def read_workload_entry(document: Fields, _folder: Path | None) -> WorkloadEntry:
    """Read a WorkloadEntry; the object's own labels go before those of its spec."""
    metadata = read_metadata(document, names=SUBDOMAIN)
    document.ignore("status")
    spec = document.child("spec")
    if spec.missing:
        spec.wrong("address", "missing")
    outside = read_outside(spec, None)
    if isinstance(outside.address, str) and outside.address:
        spec.wrong("address", f"{outside.address!r} is no IP address, which is needed here")
    return WorkloadEntry(
        namespace=metadata.namespace,
        name=metadata.name,
        labels={**outside.labels, **metadata.labels},
        outside=outside,
        origin=document.origin,
        tunnel=takes_tunnel(metadata),
    )


def takes_tunnel(metadata: Metadata) -> bool:
    """Whether HBONE is said to be understood there, in one of Istio's two ways."""
    redirection = metadata.annotations.choice(REDIRECTION, ("enabled", "disabled"))
    return metadata.labels.get(TUNNEL) == "http" or redirection == "enabled"


def read_resolution(spec: Fields) -> Resolution:
    """How endpoints are found."""
    if spec.text("resolution") == "DYNAMIC_DNS":
        spec.wrong("resolution", "not supported: DYNAMIC_DNS needs a proxy that reads names")
        return Resolution.NONE
    return Resolution(spec.choice("resolution", list(Resolution), Resolution.NONE))


def read_hosts(
    spec: Fields, resolution: Resolution, endpoints: tuple[Outside, ...]
) -> tuple[str, ...]:
    """The hosts: names, or *. and a name for all below it."""
    if not spec.has("hosts"):
        spec.wrong("hosts", "missing: give at least one")
    hosts: list[str] = []
    for index, text in enumerate(spec.texts("hosts")):
        host = text.lower()
        wildcard = host.startswith("*.")
        problem = ""
        if not HOST_NAME.fullmatch(host.removeprefix("*.")):
            problem = f"{text!r} is no host name, nor *. and a host name"
        elif host in hosts:
            problem = f"{text} is there twice"
        elif wildcard and resolution.by_name and not endpoints:
            problem = f"{text} can't be resolved: give endpoints, or resolution NONE"
        if problem:
            spec.wrong("hosts", f"[{index}]: {problem}")
        hosts.append(host)
    return tuple(hosts)


def read_addresses(spec: Fields, resolution: Resolution) -> tuple[IpNetwork, ...]:
    """Virtual addresses: single ones, and ranges where no name is resolved."""
    found: list[IpNetwork] = []
    for index, text in enumerate(spec.texts("addresses")):
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            spec.wrong("addresses", f"[{index}]: {text!r} is no IP address, nor a range")
            continue
        if network.num_addresses > 1 and resolution.by_name:
            spec.wrong("addresses", f"[{index}]: a range goes with resolution NONE or STATIC")
        found.append(network)
    return tuple(dict.fromkeys(found))


def read_port(fields: Fields) -> EntryPort:
    """Read one of ``ports``."""
    number = fields.integer("number", 0, 1, 65535)
    if fields.value("number") is None:
        fields.wrong("number", "missing")
    name = fields.required("name")
    if name:
        check_name(fields, "name", name, PORT_NAME)
    protocol = (fields.text("protocol") or "TCP").upper()
    if protocol not in PROTOCOLS:
        fields.wrong("protocol", f"{protocol!r} is none of {', '.join(PROTOCOLS)}")
    target = fields.integer("targetPort", number, 1, 65535)
    fields.end()
    return EntryPort(name, number, protocol, target)


def check_ports(spec: Fields, ports: tuple[EntryPort, ...]) -> None:
    """Report ports that are missing or that can't be told apart."""
    if not spec.has("ports"):
        spec.wrong("ports", "missing: give at least one port")
    for what, values in (
        ("name", [port.name for port in ports if port.name]),
        ("number", [str(port.port) for port in ports if port.port]),
    ):
        for value in {each for each in values if values.count(each) > 1}:
            spec.wrong("ports", f"two ports have the {what} {value}")


def read_outside(fields: Fields, names: set[str] | None) -> Outside:
    """Read an endpoint, or a WorkloadEntry's spec. names: of ports, where known."""
    text = fields.required("address", "an IP address or a host name")
    ports = fields.child("ports")
    numbers = {name: ports.integer(name, 0, 1, 65535) for name in sorted(ports.values)}
    for name in numbers:
        if names is not None and name not in names:
            ports.wrong(name, f"no port of this ServiceEntry is named {name!r}")
    network = fields.text("network")
    if network:
        fields.notice("network", f"without effect: nothing here leads to network {network}")
    outside = Outside(
        address=read_address(fields, text),
        ports=numbers,
        labels=fields.labels("labels"),
        weight=fields.integer("weight", 0, 0, MAX_WEIGHT),
        locality=read_locality(fields),
        network=network,
        service_account=fields.text("serviceAccount"),
    )
    fields.end()
    return outside


def read_address(fields: Fields, text: str) -> IpAddress | str:
    """An IP address, or a host name that somebody must resolve."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        pass
    if text.startswith("unix:"):
        fields.wrong("address", "not supported: a unix socket; give an IP address")
    elif text and not HOST_NAME.fullmatch(text.lower()):
        fields.wrong("address", f"{text!r} is neither an IP address nor a host name")
    return text.lower()


def read_locality(fields: Fields) -> Locality:
    """``region/zone/subzone``, or the first parts of it."""
    text = fields.text("locality")
    parts = text.split("/")
    if len(parts) > 3 or (text and not all(parts)):
        fields.wrong("locality", f"{text!r}: write region, region/zone or region/zone/subzone")
        return Locality()
    return Locality(*parts)


def check_endpoints(spec: Fields, entry: ServiceEntry) -> None:
    """Report endpoints that don't go with the resolution, or with a selector."""
    names = [each.address for each in entry.endpoints if isinstance(each.address, str)]
    if entry.endpoints and spec.has("workloadSelector"):
        spec.wrong("workloadSelector", "give either endpoints or workloadSelector")
    if entry.resolution is Resolution.NONE and entry.endpoints:
        spec.wrong("endpoints", "with resolution NONE there are none; use STATIC or DNS")
    if entry.resolution is Resolution.STATIC:
        if not entry.endpoints and not entry.selector:
            spec.wrong("endpoints", "missing: STATIC needs them, or workloadSelector")
        elif any(names):
            spec.wrong("endpoints", f"{names[0]!r} is no IP address; use resolution DNS")
    addresses = [each.address for each in entry.endpoints]
    for address in {each for each in addresses if addresses.count(each) > 1 and each}:
        spec.wrong("endpoints", f"{address} is there twice")
