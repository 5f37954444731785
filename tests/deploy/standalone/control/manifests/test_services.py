from __future__ import annotations

from ipaddress import ip_address

import pytest

from deploy.standalone.control.objects import (
    Family,
    FamilyPolicy,
    Service,
    Transport,
    Visibility,
)
from tests.deploy.standalone.control.helpers import complaints, one, service


def parsed(spec: str) -> Service:
    found = one(service("web", spec=spec))
    assert isinstance(found, Service)
    return found


def test_defaults() -> None:
    found = parsed("")
    assert found.hostname == "web.shop.svc.cluster.local"
    assert (found.families, found.family_policy, found.headless) == ((), None, False)
    assert found.ports[0].transport is Transport.TCP


@pytest.mark.parametrize(
    ("spec", "families", "policy"),
    [
        ("ipFamilies: [IPv6]", (Family.IPV6,), None),
        ("ipFamilies: [IPv6, IPv4]", (Family.IPV6, Family.IPV4), FamilyPolicy.REQUIRE_DUAL),
        ("ipFamilyPolicy: PreferDualStack", (), FamilyPolicy.PREFER_DUAL),
        (
            "clusterIPs: [10.96.1.1, 'fd00::1']",
            (Family.IPV4, Family.IPV6),
            FamilyPolicy.REQUIRE_DUAL,
        ),
        ("clusterIP: 'fd00::1'", (Family.IPV6,), None),
    ],
)
def test_families(spec: str, families: tuple[Family, ...], policy: FamilyPolicy | None) -> None:
    found = parsed(spec)
    assert (found.families, found.family_policy) == (families, policy)


def test_cluster_ips() -> None:
    assert parsed("clusterIP: None").headless
    assert parsed("clusterIP: 10.96.0.77").cluster_ips == (ip_address("10.96.0.77"),)


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ("type: ExternalName", "type", "not supported: a Service here has pods"),
        ("clusterIP: 10.96.0", "clusterIP", "'10.96.0' is no IP address"),
        ("clusterIPs: [10.96.0.1, 10.96.0.2]", "clusterIPs", "at most one address of each"),
        ("ipFamilies: [IPv5]", "ipFamilies", "'IPv5' is none of IPv4, IPv6"),
        (
            "{ipFamilies: [IPv4, IPv6], ipFamilyPolicy: SingleStack}",
            "ipFamilyPolicy",
            "SingleStack with",
        ),
        ("{clusterIP: 10.96.0.9, ipFamilies: [IPv6]}", "ipFamilies", "don't fit the addresses"),
        ("externalIPs: [1.2.3.4]", "externalIPs", "not supported"),
        ("trafficDistribution: Near", "trafficDistribution", "'Near' is none of"),
        ("sessionAffinity: Cookie", "sessionAffinity", "'Cookie' is none of None, ClientIP"),
        (
            "sessionAffinityConfig: {clientIP: {timeoutSeconds: 5}}",
            "sessionAffinityConfig",
            "goes with sessionAffinity: ClientIP only",
        ),
    ],
)
def test_what_is_wrong_is_named(spec: str, field: str, message: str) -> None:
    text = service(
        "web", spec=spec.strip("{}").replace(", ipF", "\nipF") if spec[0] == "{" else spec
    )
    ((_, where, why),) = complaints(text)
    assert where == f"spec.{field}"
    assert why.startswith(message)


@pytest.mark.parametrize(
    ("ports", "field", "message"),
    [
        ("[{port: 80}, {name: b, port: 81}]", "ports", "ports[0] needs a name"),
        ("[{name: a, port: 80}, {name: a, port: 81}]", "ports", "two ports are named 'a'"),
        (
            "[{name: a, port: 80}, {name: b, port: 80}]",
            "ports",
            "two TCP ports have the number 80",
        ),
        ("[{port: 80, protocol: SCTP}]", "ports[0].protocol", "'SCTP' is none of TCP, UDP"),
        ("[{}]", "ports[0].port", "missing"),
        ("[{port: 80, targetPort: A}]", "ports[0].targetPort", "'A' is no valid name"),
        ("[]", "ports", "missing: give at least one port"),
    ],
)
def test_ports(ports: str, field: str, message: str) -> None:
    text = service("web").replace("[{name: http, port: 80, targetPort: 8080}]", ports)
    ((_, where, why),) = complaints(text)
    assert where == f"spec.{field}"
    assert why.startswith(message)


@pytest.mark.parametrize(
    ("seconds", "affinity", "message"),
    [
        (1, 1, ""),
        (86400, 86400, ""),
        (0, 0, "0 is not from 1 to 86400"),
        (86401, 0, "86401 is"),
    ],
)
def test_session_affinity_lasts(seconds: int, affinity: int, message: str) -> None:
    spec = (
        "sessionAffinity: ClientIP\n"
        f"sessionAffinityConfig: {{clientIP: {{timeoutSeconds: {seconds}}}}}"
    )
    if not message:
        assert parsed(spec).affinity == affinity
        return
    ((_, where, why),) = complaints(service("web", spec=spec))
    assert where == "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
    assert why.startswith(message)


def annotated(annotation: str) -> str:
    return service("web").replace("metadata: {", f"metadata: {{annotations: {{{annotation}}}, ")


@pytest.mark.parametrize(
    ("annotation", "field", "value"),
    [
        (
            "networking.istio.io/traffic-distribution: preferclose",
            "distribution",
            "PreferClose",
        ),
        ("tandem.io/load-balancing: least-connections", "least_connections", True),
        ("networking.istio.io/exportTo: '*'", "visibility", Visibility.PUBLIC),
        ("networking.istio.io/exportTo: ''", "visibility", Visibility.PUBLIC),
        ("networking.istio.io/exportTo: .", "visibility", Visibility.NAMESPACE),
        ("networking.istio.io/exportTo: shop", "visibility", Visibility.NAMESPACE),
        ("networking.istio.io/exportTo: 'other, *'", "visibility", Visibility.PUBLIC),
        ("networking.istio.io/exportTo: '~'", "visibility", Visibility.NONE),
    ],
)
def test_annotations(annotation: str, field: str, value: object) -> None:
    found = one(annotated(annotation))
    assert getattr(found, field) == value


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ("networking.istio.io/traffic-distribution: Far", "'Far' is none of PreferClose"),
        ("tandem.io/load-balancing: random", "'random' is none of least-connections"),
        ("networking.istio.io/exportTo: other", "not supported: other; write . for this"),
        ("tandem.io/load-balancing: 3", "expected a text, not the number 3"),
        (
            "tandem.io/balancing: a",
            "unknown annotation: known are tandem.io/accelerate",
        ),
    ],
)
def test_annotations_that_are_wrong(annotation: str, message: str) -> None:
    ((_, where, why),) = complaints(annotated(annotation))
    assert where == f"metadata.annotations.{annotation.partition(':')[0]}"
    assert why.startswith(message)


def test_the_field_goes_before_the_annotation() -> None:
    text = annotated("networking.istio.io/traffic-distribution: PreferClose")
    found = one(text + "  trafficDistribution: PreferSameNode\n")
    assert isinstance(found, Service)
    assert found.distribution == "PreferSameNode"


def test_node_ports_work_as_cluster_ips_with_a_notice() -> None:
    ((_, where, why),) = complaints(service("web", spec="type: NodePort"))
    assert (where, why) == (
        "spec.type",
        "NodePort works as ClusterIP: the Service is reached by its cluster IP",
    )
