"""YAML in, what rides on the service web out: golden/NAME.yaml and golden/NAME.txt."""

from __future__ import annotations

from pathlib import Path

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.text_format import MessageToString

from tests.deploy.standalone.control.helpers import AMBIENT, GATEWAY, Mesh, service

GOLDEN = Path(__file__).parent / "golden"
PORTS = "ports: [{name: tcp-db, port: 82}, {name: tls, port: 83}, "
SERVICES = (service("web").replace("ports: [", PORTS), service("v2"))


def rides(mesh: Mesh) -> str:
    """Every message that the service carries, as text, each read back from its bytes."""
    found = []
    for extension in mesh.service("web").extensions:
        for kind in (RouteConfiguration, Listener, Cluster):
            message = kind()
            if extension.config.Unpack(message):
                assert message.name == extension.name
                found.append(f"# {kind.__name__}\n{MessageToString(message)}")
    return "\n".join(found)


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.yaml")))
def test_golden(name: str) -> None:
    mesh = Mesh(AMBIENT, GATEWAY, *SERVICES, (GOLDEN / f"{name}.yaml").read_text())
    errors = [str(p) for p in mesh.view.problems if p.level == "error"]
    assert errors == []
    assert rides(mesh) == (GOLDEN / f"{name}.txt").read_text()
