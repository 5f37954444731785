from __future__ import annotations

import pytest

from deploy.standalone.control.objects import Deployment, Locality, Namespace, Node
from tests.deploy.standalone.control.helpers import complaints, deployment, one


def test_a_deployment() -> None:
    found = one(deployment("web", replicas=3))
    assert isinstance(found, Deployment)
    assert found.replicas == 3
    assert found.template.service_account == "default"
    assert found.template.labels == {"app": "web", "version": "v1"}


@pytest.mark.parametrize(
    ("old", "new", "field", "message"),
    [
        ("replicas: 1", "replicas: -1", "spec.replicas", "-1 is not from 0 to 1000"),
        (
            "replicas: 1",
            "replicas: x",
            "spec.replicas",
            "expected a whole number, not the text",
        ),
        ("replicas: 1", "repicas: 1", "spec.repicas", "unknown field: did you mean replicas?"),
        (
            "{matchLabels: {app: web}}",
            "{matchLabels: {app: other}}",
            "spec.selector.matchLabels",
            "app: other is not among spec.template.metadata.labels",
        ),
        (
            "    spec:\n",
            "    spec:\n      hostNetwork: true\n",
            "spec.template.spec.hostNetwork",
            "not supported: a pod has a network namespace of its own",
        ),
        (
            "    spec:\n",
            "    spec:\n      restartPolicy: Sometimes\n",
            "spec.template.spec.restartPolicy",
            "'Sometimes' is none of Always",
        ),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, field: str, message: str) -> None:
    ((_, where, why),) = complaints(deployment("web").replace(old, new))
    assert where == field
    assert why.startswith(message)


def test_no_containers() -> None:
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n"
    assert complaints(text) == [
        (4, "spec.containers", "missing: give at least one program to run")
    ]


def test_a_node_is_where_its_labels_say() -> None:
    found = one(
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: node1\n  labels:\n"
        "    topology.kubernetes.io/region: eu\n    topology.kubernetes.io/zone: eu-a\n"
        "    topology.istio.io/subzone: rack7\nspec: {podCIDR: 10.0.0.0/24}\n"
    )
    assert isinstance(found, Node)
    assert (found.name, found.locality) == ("node1", Locality("eu", "eu-a", "rack7"))


@pytest.mark.parametrize("place", ["Pod", "Deployment"])
def test_accelerate_is_true_or_false(place: str) -> None:
    wrong = "annotations: {tandem.io/accelerate: maybe}, "
    text = deployment("web").replace("metadata: {labels", f"metadata: {{{wrong}labels")
    where = "spec.template.metadata"
    if place == "Pod":
        text = (
            f"apiVersion: v1\nkind: Pod\nmetadata: {{{wrong}name: p}}\n"
            "spec: {containers: [{name: main, command: [serve]}]}\n"
        )
        where = "metadata"
    ((_, field, why),) = complaints(text)
    assert field == f"{where}.annotations.tandem.io/accelerate"
    assert why == "'maybe' is none of true, false"


def test_a_namespace_may_say_where_connections_go() -> None:
    found = one(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n"
        "  annotations: {networking.istio.io/traffic-distribution: PreferSameNode}\n"
    )
    assert isinstance(found, Namespace)
    assert found.distribution == "PreferSameNode"
