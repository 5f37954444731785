"""`tandem up --same-node-mtls`: within a node as between nodes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.manifests import documents, gateway, idle, namespace, pod, service
from tests.support.mesh import MeshHandle, eventually
from tests.support.wire import tapped

OPTIONS = ("--same-node-mtls",)
MARK = "a payload for the server alone"
LABELLED = namespace("apps", dataplane_mode="ambient", use_waypoint="waypoint")
MANIFESTS = {
    "mesh.yaml": documents(
        LABELLED,
        gateway("waypoint", "apps"),
        pod("echo", "echo.py", "8080", namespace="apps", port=8080),
        service("web", 80, 8080, namespace="apps", selector="app: echo"),
        service(
            "direct", 80, 8080, namespace="apps", selector="app: echo", use_waypoint="none"
        ),
        idle("client", "apps"),
    ),
}


@pytest.mark.parametrize("host", ["direct", "web"])
def test_nothing_readable_leaves_a_pod(mesh: MeshHandle, host: str) -> None:
    client, echo = mesh.pod("client", "apps"), mesh.pod("echo", "apps")
    waypoint = mesh.pod("waypoint", "apps")
    netns = Path(echo["netns"])
    with tapped(netns.with_name(f"{mesh.name}-node1")) as node, tapped(netns) as inside:
        done = mesh.run(
            "client", "curl", "-sS", "-d", MARK, f"http://{host}/sink", namespace="apps"
        )
    assert json.loads(done.stdout)["name"] == "echo"
    assert inside.holding(MARK.encode()), "the test would not see it"
    assert node.holding(MARK.encode()) == []
    pods = {ip for one in (client, echo, waypoint) for ip in one["ips"]}
    ports = {
        15008 if 15008 in packet.ports else packet.ports[1]
        for packet in node.tcp
        if packet.ends <= pods
    }
    assert ports == {15008}


def test_the_server_and_the_log_know_the_client(mesh: MeshHandle) -> None:
    done = mesh.run("client", "curl", "-sS", "http://direct/", namespace="apps")
    peer = json.loads(done.stdout)["peer"].removeprefix("::ffff:")
    assert peer in mesh.pod("client", "apps")["ips"]
    identity = 'src.identity="spiffe://cluster.local/ns/apps/sa/default"'
    log = mesh.state / "logs" / "daemon-node1.log"
    for direction in ("outbound", "inbound"):
        eventually(
            lambda d=direction: any(
                identity in line and f'direction="{d}"' in line and "15008" in line
                for line in log.read_text().splitlines()
            ),
            f"the {direction} line",
        )
