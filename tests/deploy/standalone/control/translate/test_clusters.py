"""Health checks that EnvoyFilters set in a service's clusters."""

from __future__ import annotations

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster

from tests.deploy.standalone.control.helpers import Mesh, complaints
from tests.deploy.standalone.control.translate.test_envoyfilters import envoy_filter, mesh_of
from tests.deploy.standalone.control.translate.test_virtual import destination
from waypoint.cluster_settings import DEFAULTS
from waypoint.decode_cluster import decode_cluster
from waypoint.resilience.health import HttpCheck, TcpCheck

TIMES = "timeout: 1s, interval: 2s, unhealthy_threshold: 1, healthy_threshold: 1"
TCP = f"{{{TIMES}, tcp_health_check: {{}}}}"
HTTP = f"{{{TIMES}, http_health_check: {{path: /healthz}}}}"
SUBSETS = "host: web\nsubsets: [{name: v1, labels: {version: v1}}]"
HOST = "web.shop.svc.cluster.local"


def checks(said: str, match: str = "") -> str:
    """A patch of clusters; said: the checks; match: of the cluster."""
    value = f"{{operation: MERGE, value: {{health_checks: [{said}]}}}}"
    return f"{{applyTo: CLUSTER, match: {{cluster: {{{match}}}}}, patch: {value}}}"


def checked(mesh: Mesh, of: str = "web") -> dict[str, list[type]]:
    """What clusters check, by their names without the host."""
    found = {}
    for extension in mesh.service(of).extensions:
        message = Cluster()
        if extension.config.Unpack(message):
            settings = decode_cluster(extension.config.value)
            kinds = [type(each.check) for each in settings.checks]
            found[extension.name.rpartition("|")[0]] = kinds
    return found


def test_a_service_without_rules_may_be_checked() -> None:
    mesh = mesh_of(envoy_filter(checks(f"{TCP}, {HTTP}")))
    assert checked(mesh) == {"outbound|80|": [TcpCheck, HttpCheck]}
    assert checked(mesh, "api") == {}


def test_checks_are_all_that_it_changes() -> None:
    mesh = mesh_of(envoy_filter(checks(TCP)))
    (extension,) = mesh.service("web").extensions
    settings = decode_cluster(extension.config.value)
    assert (settings.policy, settings.connect_timeout) == (
        DEFAULTS.policy, DEFAULTS.connect_timeout,
    )  # fmt: skip
    assert settings.breakers.default == DEFAULTS.breakers.default


def test_patches_are_joined_where_they_are_meant() -> None:
    mesh = mesh_of(
        destination(SUBSETS),
        envoy_filter(
            checks(TCP),
            checks(HTTP, f"service: {HOST}, portNumber: 80, subset: v1"),
            checks(HTTP, "portNumber: 81"),
            checks(HTTP, "service: other"),
        ),
    )
    assert checked(mesh) == {
        "outbound|80|": [TcpCheck], "outbound|80|v1": [TcpCheck, HttpCheck],
    }  # fmt: skip
    told = [p.field for p in mesh.view.problems if "matches nothing" in p.message]
    assert told == ["spec.configPatches[2]", "spec.configPatches[3]"]


@pytest.mark.parametrize(
    ("patch", "field", "message"),
    [
        (checks("{timeout: 1s, interval: 2s}"), "patch.value", "health_checks[0]."),
        (checks(TCP).replace("health_checks: [", "connect_timeout: 1s, health_checks: ["),
         "patch.value", "connect_timeout: not supported: set health_checks"),
        (checks(TCP, "name: a"), "match.cluster.name", "give service, portNumber and subset"),
        (checks(TCP).replace("cluster: {}", "listener: {name: x}"), "match.listener",
         "use cluster"),
        (checks(TCP).replace("MERGE", "REMOVE"), "patch.operation", "none of MERGE"),
        (checks(", ".join([TCP] * 17)), "patch.value", "health_checks: 17, more than 16"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(patch: str, field: str, message: str) -> None:
    found = complaints(envoy_filter(patch))
    at = f"spec.configPatches[0].{field}"
    assert any(path == at and message in said for _, path, said in found), found
