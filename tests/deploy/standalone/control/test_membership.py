from __future__ import annotations

import pytest

from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    GATEWAY,
    Mesh,
    deployment,
    service,
)

OTHER = AMBIENT.replace("name: shop", "name: other").replace(
    ", istio.io/use-waypoint: waypoint", ", team: red"
)


def labelled(text: str, labels: str) -> str:
    return text.replace("namespace: shop}", f"namespace: shop, labels: {{{labels}}}}}", 1)


def in_pod(text: str, labels: str) -> str:
    return text.replace("labels: {app:", f"labels: {{{labels}, app:")


@pytest.mark.parametrize(
    ("namespace", "pod", "enrolled"),
    [
        ("ambient", "", True),
        ("none", "", False),
        ("none", "ambient", True),
        ("ambient", "none", False),
        ("sidecar", "", False),
    ],
)
def test_a_pods_label_goes_before_its_namespaces(
    namespace: str, pod: str, enrolled: bool
) -> None:
    text = deployment("web")
    if pod:
        text = in_pod(text, f"istio.io/dataplane-mode: {pod}")
    mesh = Mesh(AMBIENT.replace("ambient", namespace), text)
    (view,) = mesh.view.pods.values()
    assert view.enrolled is enrolled


@pytest.mark.parametrize(
    ("waypoint_for", "label", "at_service", "at_pod"),
    [
        ("", "", True, False),
        ("service", "", True, False),
        ("workload", "", False, True),
        ("all", "", True, True),
        ("none", "", False, False),
        ("all", "none", False, False),
    ],
)
def test_who_a_waypoint_serves(
    waypoint_for: str, label: str, at_service: bool, at_pod: bool
) -> None:
    gateway, web, pods = GATEWAY, service("web"), deployment("web")
    if waypoint_for:
        gateway = labelled(gateway, f"istio.io/waypoint-for: {waypoint_for}")
    if label:
        web = labelled(web, f"istio.io/use-waypoint: {label}")
        pods = in_pod(pods, f"istio.io/use-waypoint: {label}")
    mesh = Mesh(AMBIENT, gateway, web, pods)
    mesh.report()
    assert mesh.service("web").HasField("waypoint") is at_service
    (workload,) = (w for name, w in mesh.workloads().items() if name.startswith("web"))
    assert workload.HasField("waypoint") is at_pod
    assert not any("there is no waypoint" in message for message in mesh.messages())


def test_a_services_own_label_goes_before_its_namespaces() -> None:
    second = GATEWAY.replace("name: waypoint", "name: second")
    mesh = Mesh(
        AMBIENT, GATEWAY, second,
        labelled(service("web"), "istio.io/use-waypoint: second"), deployment("web"),
    )  # fmt: skip
    mesh.report()
    assert mesh.service("web").waypoint.hostname.hostname == "second.shop.svc.cluster.local"
    assert mesh.service("web").waypoint.hbone_mtls_port == 15008


@pytest.mark.parametrize(
    ("allowed", "permitted"),
    [
        ("", False),
        ("Same", False),
        ("All", True),
        ("Selector, selector: {matchLabels: {team: red}}", True),
        ("Selector, selector: {matchLabels: {team: blue}}", False),
    ],
)
def test_another_namespaces_waypoint_must_permit_it(allowed: str, permitted: bool) -> None:
    gateway = GATEWAY
    if allowed:
        gateway = GATEWAY.replace(
            "HBONE}", f"HBONE, allowedRoutes: {{namespaces: {{from: {allowed}}}}}}}"
        )
    labels = "istio.io/use-waypoint: waypoint, istio.io/use-waypoint-namespace: shop"
    web = service("web", namespace="other").replace(
        "namespace: other}", f"namespace: other, labels: {{{labels}}}}}", 1
    )
    mesh = Mesh(AMBIENT, OTHER, gateway, web)
    mesh.report()
    assert mesh.service("web", "other").HasField("waypoint") is permitted
    complaint = "don't allow namespace other"
    assert any(complaint in message for message in mesh.messages()) is not permitted


def test_a_missing_waypoint_is_reported_and_the_rest_goes_on() -> None:
    mesh = Mesh(AMBIENT, service("web"), deployment("web"))
    mesh.report()
    assert mesh.messages() == [
        "metadata.labels[istio.io/use-waypoint]: there is no waypoint shop/waypoint"
    ]
    assert not mesh.service("web").HasField("waypoint")
    assert len(mesh.workloads()) == 1


def test_a_waypoint_is_used_from_when_it_was_ready_once() -> None:
    mesh = Mesh(AMBIENT, GATEWAY, service("web"), deployment("web"))
    assert not mesh.service("web").HasField("waypoint")
    mesh.report()
    assert mesh.service("web").HasField("waypoint")
    mesh.report(ready=False)
    assert mesh.service("web").HasField("waypoint"), "a dead waypoint must not be passed by"
    mesh.write(AMBIENT, service("web"), deployment("web"))
    assert not mesh.service("web").HasField("waypoint")


def test_an_unknown_waypoint_for_is_reported() -> None:
    mesh = Mesh(AMBIENT, labelled(GATEWAY, "istio.io/waypoint-for: everyone"))
    assert any("'everyone' is none of service, workload, all" in m for m in mesh.messages())
