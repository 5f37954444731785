from __future__ import annotations

import pytest

from deploy.standalone.control.objects import EnvVar, Pod, Probe
from tests.deploy.standalone.control.helpers import complaints, one

HEAD = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n"


def container(*lines: str, command: str = "[serve]") -> str:
    inner = "".join(f"    {line}\n" for line in lines)
    return f"{HEAD}  - name: main\n    command: {command}\n{inner}"


def parsed(*lines: str) -> Pod:
    pod = one(container(*lines))
    assert isinstance(pod, Pod)
    return pod


def test_a_container_without_a_command_is_told_why() -> None:
    assert complaints(HEAD + "  - name: main\n    image: nginx\n") == [
        (
            6,
            "spec.containers[0].command",
            "missing: images are not pulled here; give the program to run",
        )
    ]


def test_a_relative_working_dir_starts_at_the_manifest() -> None:
    (found,) = parsed("workingDir: ../data").template.containers
    assert found.working_dir == "/data"


def test_fields_of_images_and_limits_are_accepted() -> None:
    parsed("image: x", "imagePullPolicy: Always", "resources: {limits: {cpu: 1}}")


def test_environment() -> None:
    (found,) = parsed(
        "env:", "- {name: A, value: 'x=1'}", "- name: B",
        "  valueFrom: {fieldRef: {fieldPath: status.podIP}}",
    ).template.containers  # fmt: skip
    assert found.env == (EnvVar("A", "x=1"), EnvVar("B", "", "status.podIP"))


def test_probe_with_kubernetes_defaults_and_a_named_port() -> None:
    (found,) = parsed(
        "ports: [{name: web, containerPort: 81}]",
        "readinessProbe: {httpGet: {port: web}, periodSeconds: 2}",
    ).template.containers
    assert found.readiness == Probe("http", 81, "/", period=2)


@pytest.mark.parametrize(
    ("lines", "field", "message"),
    [
        (
            ["env: [{name: A, value: 3}]"],
            "env[0].value",
            "expected a text, not the number 3: put",
        ),
        (["envFrom: [{}]"], "envFrom", "not supported: write the variables in env"),
        (
            ["env: [{name: A, valueFrom: {secretKeyRef: {name: x}}}]"],
            "env[0].valueFrom.secretKeyRef",
            "not supported: write the value itself",
        ),
        (
            ["env: [{name: A, valueFrom: {fieldRef: {fieldPath: x}}}]"],
            "env[0].valueFrom.fieldRef.fieldPath",
            "'x' is none of metadata.name",
        ),
        (
            ["ports: [{containerPort: 70000}]"],
            "ports[0].containerPort",
            "70000 is not from 1 to",
        ),
        (["readinessProbe: {}"], "readinessProbe", "needs httpGet or tcpSocket"),
        (
            ["readinessProbe: {tcpSocket: {port: x}}"],
            "readinessProbe.tcpSocket.port",
            "no port of",
        ),
        (
            ["readinessProbe: {exec: {command: [x]}}"],
            "readinessProbe.exec",
            "not supported: use",
        ),
        (["comand: [x]"], "comand", "unknown field: did you mean command?"),
    ],
)
def test_what_is_wrong_is_named(lines: list[str], field: str, message: str) -> None:
    ((_, where, why),) = complaints(container(*lines))
    assert where == f"spec.containers[0].{field}"
    assert why.startswith(message)


def test_what_has_no_effect_is_a_notice_and_the_pod_is_used() -> None:
    ((line, field, message),) = complaints(container("livenessProbe: {tcpSocket: {port: 1}}"))
    assert (line, field) == (8, "spec.containers[0].livenessProbe")
    assert message.startswith("without effect")
