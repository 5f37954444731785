"""Services."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.metadata import (
    BALANCING,
    PORT_NAME,
    SERVICE,
    Metadata,
    check_name,
    read_metadata,
)
from deploy.standalone.control.objects import (
    Family,
    FamilyPolicy,
    IpAddress,
    Service,
    ServicePort,
    Transport,
    Visibility,
)

OUTSIDE = "the Service is reached by its cluster IP"
WITHOUT_EFFECT = {
    "externalTrafficPolicy": OUTSIDE,
    "loadBalancerIP": OUTSIDE,
    "loadBalancerClass": OUTSIDE,
    "loadBalancerSourceRanges": OUTSIDE,
    "allocateLoadBalancerNodePorts": OUTSIDE,
    "healthCheckNodePort": OUTSIDE,
}
DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
#: Annotations.
DISTRIBUTION = "networking.istio.io/traffic-distribution"
EXPORT_TO = "networking.istio.io/exportTo"
LEAST_CONNECTIONS = "least-connections"
#: Kubernetes' own: three hours, and a day at most.
AFFINITY_SECONDS = 10_800
MAX_AFFINITY_SECONDS = 86_400


def read_service(document: Fields, _folder: Path | None) -> Service:
    """Read a Service."""
    metadata = read_metadata(document, names=SERVICE)
    document.ignore("status")
    spec = document.child("spec")
    spec.without_effect(WITHOUT_EFFECT)
    spec.unsupported({"externalIPs": OUTSIDE})
    read_type(spec)
    affinity = read_affinity(spec)
    headless, addresses = read_cluster_ips(spec)
    ports = tuple(read_port(inner) for inner in spec.children("ports"))
    check_ports(spec, ports, headless=headless)
    families, policy = read_families(spec, addresses)
    local = spec.choice("internalTrafficPolicy", ("Cluster", "Local"), "Cluster") == "Local"
    service = Service(
        namespace=metadata.namespace,
        name=metadata.name,
        labels=metadata.labels,
        selector=spec.labels("selector"),
        ports=ports,
        origin=document.origin,
        headless=headless,
        cluster_ips=addresses,
        families=families,
        family_policy=policy,
        publish_not_ready=spec.boolean("publishNotReadyAddresses"),
        node_local=local,
        distribution=read_distribution(spec, metadata),
        affinity=affinity,
        least_connections=bool(metadata.annotations.choice(BALANCING, (LEAST_CONNECTIONS,))),
        visibility=read_visibility(metadata),
    )
    spec.end()
    return service


def read_distribution(spec: Fields, metadata: Metadata) -> str:
    """``trafficDistribution``, or the annotation that came before it."""
    said = metadata.annotations.choice(DISTRIBUTION, DISTRIBUTIONS)
    return spec.choice("trafficDistribution", ("", *DISTRIBUTIONS), "") or said


def read_visibility(metadata: Metadata) -> Visibility:
    """The annotation that says who sees the Service."""
    values = tuple(filter(None, map(str.strip, metadata.annotations.get(EXPORT_TO).split(","))))
    return visibility_of(metadata.annotations.fields, EXPORT_TO, values, metadata.namespace)


def visibility_of(
    fields: Fields, field: str, values: tuple[str, ...], namespace: str
) -> Visibility:
    """What a list of namespaces comes to: the stream knows one's own, or all."""
    if not values or "*" in values:
        return Visibility.PUBLIC
    if values == ("~",):
        return Visibility.NONE
    others = [value for value in values if value not in {".", namespace}]
    if others:
        fields.wrong(
            field,
            f"not supported: {', '.join(others)}; write . for this namespace, * for all, "
            "or ~ for none",
        )
    return Visibility.NAMESPACE


def read_affinity(spec: Fields) -> int:
    """Seconds that a client stays with its endpoint; 0 for none."""
    wanted = spec.choice("sessionAffinity", ("None", "ClientIP"), "None") == "ClientIP"
    config = spec.child("sessionAffinityConfig")
    client = config.child("clientIP")
    seconds = client.integer("timeoutSeconds", AFFINITY_SECONDS, 1, MAX_AFFINITY_SECONDS)
    client.end()
    config.end()
    if not wanted and not config.missing:
        spec.wrong("sessionAffinityConfig", "goes with sessionAffinity: ClientIP only")
    return seconds if wanted else 0


def read_type(spec: Fields) -> None:
    """Check ``type`` and what hangs on it."""
    kinds = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
    kind = spec.choice("type", kinds, "ClusterIP")
    if kind == "ExternalName":
        spec.wrong("type", "not supported: a Service here has pods; use ClusterIP")
    elif kind != "ClusterIP":
        spec.notice("type", f"{kind} works as ClusterIP: {OUTSIDE}")
    spec.ignore("externalName")


def read_cluster_ips(spec: Fields) -> tuple[bool, tuple[IpAddress, ...]]:
    """Whether the Service is headless, and the addresses it asks for."""
    first = spec.text("clusterIP")
    given = spec.texts("clusterIPs") or ((first,) if first else ())
    if first and given[0] != first:
        spec.wrong("clusterIPs", f"must begin with clusterIP, {first}")
    if given == ("None",):
        return True, ()
    addresses: list[IpAddress] = []
    for text in given:
        field = "clusterIPs" if spec.has("clusterIPs") else "clusterIP"
        try:
            addresses.append(ipaddress.ip_address(text))
        except ValueError:
            spec.wrong(field, f"{text!r} is no IP address (nor None, for a headless Service)")
    if len(addresses) > 2 or len({a.version for a in addresses}) < len(addresses):
        spec.wrong("clusterIPs", "at most one address of each IP family")
    return False, tuple(addresses)


def read_families(
    spec: Fields, addresses: tuple[IpAddress, ...]
) -> tuple[tuple[Family, ...], FamilyPolicy | None]:
    """The IP families asked for, and how firmly.

    Kubernetes' rule: two families or addresses without a policy require both.
    """
    families = []
    for text in spec.texts("ipFamilies"):
        if text not in list(Family):
            spec.wrong("ipFamilies", f"{text!r} is none of {', '.join(Family)}")
        elif Family(text) in families:
            spec.wrong("ipFamilies", f"{text} is there twice")
        else:
            families.append(Family(text))
    implied = [Family.IPV4 if a.version == 4 else Family.IPV6 for a in addresses]
    if families[: len(implied)] != implied[: len(families)]:
        spec.wrong("ipFamilies", f"don't fit the addresses in clusterIPs: {', '.join(implied)}")
    families = max(families, implied, key=len)
    text = spec.text("ipFamilyPolicy")
    if not text:
        return tuple(families), FamilyPolicy.REQUIRE_DUAL if len(families) == 2 else None
    policy = FamilyPolicy(spec.choice("ipFamilyPolicy", list(FamilyPolicy), "SingleStack"))
    if policy is FamilyPolicy.SINGLE and len(families) > 1:
        spec.wrong("ipFamilyPolicy", "SingleStack with two IP families: use PreferDualStack")
    return tuple(families), policy


def read_port(fields: Fields) -> ServicePort:
    """Read one of ``ports``."""
    fields.ignore("nodePort")
    name = fields.text("name")
    if name:
        check_name(fields, "name", name, PORT_NAME)
    port = fields.integer("port", 0, 1, 65535)
    if fields.value("port") is None:
        fields.wrong("port", "missing")
    target = fields.number_or_text("targetPort")
    if isinstance(target, int):
        target = fields.integer("targetPort", 0, 1, 65535)
    elif target is not None:
        check_name(fields, "targetPort", target, PORT_NAME)
    result = ServicePort(
        name=name,
        port=port,
        target=port if target is None else target,
        transport=Transport(fields.choice("protocol", list(Transport), Transport.TCP)),
        app_protocol=fields.text("appProtocol"),
    )
    fields.end()
    return result


def check_ports(spec: Fields, ports: tuple[ServicePort, ...], *, headless: bool) -> None:
    """Report ports that are missing or that can't be told apart."""
    if not ports and not headless and not spec.has("ports"):
        spec.wrong("ports", "missing: give at least one port")
    names: set[str] = set()
    numbers: set[tuple[int, Transport]] = set()
    for index, port in enumerate(ports):
        if not port.name and len(ports) > 1:
            spec.wrong("ports", f"ports[{index}] needs a name: there are several ports")
        if port.name and port.name in names:
            spec.wrong("ports", f"two ports are named {port.name!r}")
        if (port.port, port.transport) in numbers and port.port:
            spec.wrong("ports", f"two {port.transport} ports have the number {port.port}")
        names.add(port.name)
        numbers.add((port.port, port.transport))
