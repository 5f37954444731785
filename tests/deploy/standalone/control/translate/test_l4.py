from __future__ import annotations

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from proto import workload_pb2 as pb
from tests.deploy.standalone.control.helpers import AMBIENT, Mesh, deployment, service
from ztunnel_compat.decode import decode_address
from ztunnel_compat.model import Workload

LEAST = "metadata: {annotations: {tandem.io/load-balancing: least-connections}, "


def options(message: pb.Service | pb.Workload) -> dict[str, object]:
    """What the extension says."""
    found: dict[str, object] = {}
    for extension in message.extensions:
        if extension.name == "tandem.io/labels":
            continue
        assert extension.name == "tandem.io/l4"
        content = Struct()
        assert extension.config.Unpack(content)
        found |= MessageToDict(content)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (service("web"), {}),
        (
            service("web", spec="sessionAffinity: ClientIP"),
            {"sessionAffinitySeconds": 10800},
        ),
        (
            service(
                "web",
                spec="sessionAffinity: ClientIP\n"
                "sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}",
            ),
            {"sessionAffinitySeconds": 60},
        ),
        (service("web").replace("metadata: {", LEAST), {"leastConnections": True}),
    ],
)
def test_a_services_options_reach_daemons_too(text: str, expected: dict[str, object]) -> None:
    mesh = Mesh(text)
    assert options(mesh.service("web")) == expected
    name = "shop/web.shop.svc.cluster.local"
    assert mesh.view.contents.ztunnel[name] == mesh.view.contents.waypoint[name]


@pytest.mark.parametrize(("value", "expected"), [("true", {"accelerate": True}), ("false", {})])
def test_a_pods_option(value: str, expected: dict[str, object]) -> None:
    text = deployment("web").replace(
        "metadata: {labels:",
        f"metadata: {{annotations: {{tandem.io/accelerate: '{value}'}}, labels:",
    )
    mesh = Mesh(AMBIENT, text)
    mesh.report()
    (workload,) = mesh.workloads().values()
    assert options(workload) == expected


def test_the_engines_understand_it() -> None:
    both = service("web", spec="sessionAffinity: ClientIP").replace("metadata: {", LEAST)
    pod = deployment("web").replace(
        "metadata: {labels:", "metadata: {annotations: {tandem.io/accelerate: 'true'}, labels:"
    )
    mesh = Mesh(AMBIENT, both, pod)
    mesh.report()
    for name, resource in mesh.view.contents.ztunnel.items():
        found = decode_address(name, resource.value)
        if isinstance(found, Workload):
            assert found.accelerate
        else:
            assert (found.affinity_seconds, found.least_connections) == (10800, True)


def test_accelerating_a_pod_of_its_own_restarts_nothing() -> None:
    pod = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop, annotations: {%s}}\n"
        "spec: {containers: [{name: main, command: [serve]}]}\n"
    )
    mesh = Mesh(AMBIENT, pod % "")
    before = mesh.view.pods[("shop", "p")].pod.uid
    mesh.write(AMBIENT, pod % "tandem.io/accelerate: 'true'")
    after = mesh.view.pods[("shop", "p")].pod
    assert (after.uid, after.template.accelerate) == (before, True)
