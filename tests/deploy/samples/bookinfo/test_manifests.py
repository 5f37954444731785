"""The manifests agree with each other and with the programs beside them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.support.bookinfo import SAMPLE

OBJECTS: list[Any] = [
    document
    for file in sorted(SAMPLE.glob("*.yaml"))
    for document in yaml.safe_load_all(file.read_text())
]


def of(kind: str) -> dict[str, Any]:
    return {each["metadata"]["name"]: each for each in OBJECTS if each["kind"] == kind}


def test_everything_lives_in_the_enrolled_namespace() -> None:
    (namespace,) = of("Namespace").values()
    assert namespace["metadata"]["labels"] == {
        "istio.io/dataplane-mode": "ambient",
        "istio.io/use-waypoint": "waypoint",
    }
    named = [each["metadata"] for each in OBJECTS if each["kind"] != "Namespace"]
    assert {each["namespace"] for each in named} == {"bookinfo"}


@pytest.mark.parametrize("name", sorted(of("Deployment")))
def test_deployment_runs_a_program_of_this_directory(name: str) -> None:
    template = of("Deployment")[name]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert (SAMPLE / container["workingDir"] / container["command"][1]).is_file()
    assert container["readinessProbe"]["httpGet"] == {"path": "/health", "port": 9080}
    assert template["spec"]["serviceAccountName"] in of("ServiceAccount")
    selector = of("Deployment")[name]["spec"]["selector"]["matchLabels"]
    assert selector == template["metadata"]["labels"]


@pytest.mark.parametrize("name", sorted(of("Service")))
def test_service_selects_pods(name: str) -> None:
    spec = of("Service")[name]["spec"]
    chosen = [
        deployment
        for deployment, value in of("Deployment").items()
        if spec["selector"].items() <= value["spec"]["template"]["metadata"]["labels"].items()
    ]
    expected = {"reviews": ["reviews-v1", "reviews-v2"]}.get(name)
    assert chosen == (expected or [name if name.startswith("reviews-") else f"{name}-v1"])
    assert spec["ports"] == [{"name": "http", "port": 9080, "targetPort": 9080}]


def test_reviews_survive_the_loss_of_one_pod() -> None:
    for name in ("reviews-v1", "reviews-v2"):
        assert of("Deployment")[name]["spec"]["replicas"] == 2


def test_route_splits_80_20_between_existing_services() -> None:
    (route,) = of("HTTPRoute").values()
    (rule,) = route["spec"]["rules"]
    assert {each["name"]: each["weight"] for each in rule["backendRefs"]} == {
        "reviews-v1": 80,
        "reviews-v2": 20,
    }
    parents = [each["name"] for each in route["spec"]["parentRefs"]]
    assert {*parents, "reviews-v1", "reviews-v2"} <= set(of("Service"))


def test_gateway_is_the_waypoint_that_the_namespace_names() -> None:
    assert of("Gateway")["waypoint"]["spec"]["gatewayClassName"] == "tandem-waypoint"
