"""DestinationRules."""

from __future__ import annotations

from pathlib import Path

from deploy.standalone.control.manifests.balancers import read_balancer
from deploy.standalone.control.manifests.durations import read_time
from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.hostnames import read_host, read_visible
from deploy.standalone.control.manifests.metadata import read_metadata
from deploy.standalone.control.trafficapi import (
    DestinationRule,
    Keepalive,
    Outliers,
    Pool,
    Subset,
    TrafficPolicy,
)

UNSUPPORTED = {
    "workloadSelector": "a waypoint reaches a host in one way, whoever asks",
}
NO_TUNNEL = {
    "tunnel": "connections go to the endpoints themselves",
    "proxyProtocol": "the node's engine tells endpoints who their client is",
}
#: Istio has 2³² - 1 for "unbounded"; more is none.
MOST = (1 << 32) - 1


def read_destination_rule(document: Fields, _folder: Path | None) -> DestinationRule:
    """Read a DestinationRule."""
    metadata = read_metadata(document)
    document.ignore("status")
    spec = document.child("spec")
    spec.unsupported(UNSUPPORTED)
    host = read_host(spec, "host", spec.required("host"), metadata.namespace)
    subsets = [read_subset(inner) for inner in spec.children("subsets")]
    names = [subset.name for subset in subsets]
    for name in {each for each in names if names.count(each) > 1}:
        spec.wrong("subsets", f"two subsets have the name {name}")
    rule = DestinationRule(
        namespace=metadata.namespace,
        name=metadata.name,
        host=host,
        policy=read_policy(spec.child("trafficPolicy")),
        subsets=tuple(subsets),
        visible=read_visible(spec, metadata.namespace),
        origin=document.origin,
    )
    spec.end()
    return rule


def read_subset(fields: Fields) -> Subset:
    """Read one of ``subsets``."""
    subset = Subset(
        fields.required("name"),
        fields.labels("labels"),
        read_policy(fields.child("trafficPolicy")),
    )
    if "|" in subset.name:
        fields.wrong("name", f"{subset.name!r} must not contain |")
    fields.end()
    return subset


def read_policy(fields: Fields, *, of_port: bool = False) -> TrafficPolicy:
    """Read a ``trafficPolicy``, or one of its ``portLevelSettings``."""
    fields.unsupported(NO_TUNNEL)
    read_tls(fields.child("tls"))
    ports = {}
    for inner in [] if of_port else fields.children("portLevelSettings"):
        port = inner.child("port")
        number = port.integer("number", 0, 1, 65535)
        if not number:
            port.wrong("number", "missing")
        elif number in ports:
            port.wrong("number", f"port {number} is there twice")
        port.end()
        ports[number] = read_policy(inner, of_port=True)
    policy = TrafficPolicy(
        balancer=read_balancer(fields.child("loadBalancer")),
        pool=read_pool(fields.child("connectionPool")),
        outliers=read_outliers(fields.child("outlierDetection")),
        ports=ports,
    )
    fields.end()
    return policy


def read_tls(fields: Fields) -> None:
    """Read ``tls``: the mesh's own is there anyway, and none is asked for beside it."""
    if fields.missing:
        return
    mode = fields.choice("mode", ("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"), "DISABLE")
    if mode in {"SIMPLE", "MUTUAL"}:
        fields.wrong(
            "mode",
            f"not supported: {mode}, TLS of a waypoint's own; use ISTIO_MUTUAL, or DISABLE",
        )
    fields.without_effect(dict.fromkeys(("sni", "subjectAltNames"), "the mesh has its own"))
    fields.ignore(
        "clientCertificate", "privateKey", "caCertificates", "credentialName",
        "insecureSkipVerify", "caCrl",
    )  # fmt: skip
    fields.end()


def read_pool(fields: Fields) -> Pool | None:
    """Read ``connectionPool``."""
    if fields.missing:
        return None
    tcp, http = fields.child("tcp"), fields.child("http")
    upgrade = http.choice(
        "h2UpgradePolicy", ("DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"), "DEFAULT"
    )
    pool = Pool(
        connections=bound(tcp, "maxConnections"),
        pending=bound(http, "http1MaxPendingRequests"),
        requests=bound(http, "http2MaxRequests"),
        retries=bound(http, "maxRetries"),
        requests_per_connection=bound(http, "maxRequestsPerConnection"),
        streams=bound(http, "maxConcurrentStreams"),
        connect_timeout=read_time(tcp, "connectTimeout"),
        idle_timeout=read_time(http, "idleTimeout", zero=True),
        tcp_idle_timeout=read_time(tcp, "idleTimeout", zero=True),
        max_duration=read_time(tcp, "maxConnectionDuration", zero=True),
        keepalive=read_keepalive(tcp.child("tcpKeepalive")),
        upgrade=upgrade == "UPGRADE",
        client_protocol=http.boolean("useClientProtocol"),
    )
    if pool.upgrade and pool.client_protocol:
        http.wrong("useClientProtocol", "can't stand beside h2UpgradePolicy: UPGRADE")
    for part in (tcp, http, fields):
        part.end()
    return pool


def bound(fields: Fields, name: str) -> int | None:
    """A bound; None where there is none, as 0 means too."""
    return fields.integer(name, 0, 0, MOST) or None


def read_keepalive(fields: Fields) -> Keepalive | None:
    """Read ``tcpKeepalive``."""
    if fields.missing:
        return None
    found = Keepalive(
        probes=fields.integer("probes", 0, 0, MOST),
        time=read_time(fields, "time") or 0.0,
        interval=read_time(fields, "interval") or 0.0,
    )
    fields.end()
    return found


def read_outliers(fields: Fields) -> Outliers | None:
    """Read ``outlierDetection``."""
    if fields.missing:
        return None
    counts = {}
    for name in (
        "consecutive5xxErrors", "consecutiveGatewayErrors", "consecutiveLocalOriginFailures",
    ):  # fmt: skip
        given = fields.value(name) is not None
        counts[name] = fields.integer(name, 0, 0, MOST) if given else None
    fields.unsupported(
        {"consecutiveErrors": "use consecutive5xxErrors, or consecutiveGatewayErrors"}
    )
    split = fields.boolean("splitExternalLocalOriginErrors")
    if counts["consecutiveLocalOriginFailures"] is not None and not split:
        fields.wrong(
            "consecutiveLocalOriginFailures", "needs splitExternalLocalOriginErrors: true"
        )
    outliers = Outliers(
        consecutive_5xx=counts["consecutive5xxErrors"],
        consecutive_gateway=counts["consecutiveGatewayErrors"],
        split_local=split,
        consecutive_local=counts["consecutiveLocalOriginFailures"],
        interval=read_time(fields, "interval"),
        ejection=read_time(fields, "baseEjectionTime"),
        max_percent=fields.integer("maxEjectionPercent", 0, 0, 100) or None,
        min_health_percent=fields.integer("minHealthPercent", 0, 0, 100),
    )
    fields.end()
    return outliers
