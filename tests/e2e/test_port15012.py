"""Tokens on two real nodes: each is good where it belongs, and nowhere else.

The control plane, the nodes and the pods are real; node agents and the waypoint's
process are not needed here, and stand-ins.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.standalone.config import MeshConfig
from deploy.standalone.runner.app import Mesh
from deploy.standalone.runner.launch import exec_argv
from deploy.standalone.runner.system import Programs
from tests.deploy.standalone.runner.worlds import HERE, eventually, make_config
from tests.e2e.manifests import documents, gateway, idle, namespace
from tests.support.mesh import ROOT

CONFIG = make_config("port15012", 120, "node1", "node2")
PROGRAMS = Programs(daemon=(sys.executable, str(HERE / "fake_daemon.py")))


def on(manifest: str, node: str, account: str) -> str:
    """A pod of a service account on a node."""
    more = f"spec:\n  nodeName: {node}\n  serviceAccountName: {account}\n"
    return manifest.replace("spec:\n", more, 1)


MANIFESTS = documents(
    namespace("apps", dataplane_mode="ambient"),
    on(idle("a", "apps"), "node1", "here"),
    on(idle("b", "apps"), "node2", "there"),
    gateway("waypoint", "apps"),
)


def identity(account: str) -> str:
    return f"spiffe://cluster.local/ns/apps/sa/{account}"


def node_id(role: str, space: str) -> str:
    return f"{role}~10.0.0.1~x.{space}~{space}.svc.cluster.local"


AGENT = node_id("ztunnel", "tandem-system")


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    file = tmp_path / "mesh.yaml"
    file.write_text(MANIFESTS)
    async with Mesh(CONFIG, files=[file], programs=PROGRAMS) as made:
        await eventually(
            lambda: CONFIG.pod_token("apps", waypoint_pod(CONFIG)).exists(),
            "the waypoint's pod has a token",
            60,
        )
        yield made


def waypoint_pod(config: MeshConfig) -> str:
    (found,) = (config.state_dir / "pods" / "apps").glob("waypoint-*/pod.json")
    return found.parent.name


Place = Callable[[list[str]], list[str]]


async def ask(place: Place, token: Path, who: str, *named: str) -> dict[str, Any]:
    """What port 15012 says to somebody in a place."""
    program = ROOT / "tests" / "e2e" / "programs" / "ask_port15012.py"
    command = [sys.executable, str(program), CONFIG.ads_address, str(CONFIG.roots_file)]
    process = await asyncio.create_subprocess_exec(
        *place([*command, str(token), who, *named]),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    said: dict[str, Any] = json.loads(output)
    return said


def in_node(node: str) -> Place:
    return lambda command: ["ip", "netns", "exec", CONFIG.node_netns(node), *command]


def in_pod(pod: str) -> Place:
    record = json.loads((CONFIG.pod_dir("apps", pod) / "pod.json").read_text())
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    return lambda command: exec_argv(record | {"environment": environment}, command)


async def test_a_token_is_good_in_its_place_alone(mesh: Mesh) -> None:
    own, other = (CONFIG.agent_token(node) for node in CONFIG.nodes)
    said = await ask(in_node("node1"), own, AGENT, identity("here"))
    assert said["ca"] == [identity("here")]
    assert any("//Pod/apps/a" in name for name in said["ads"])

    said = await ask(in_node("node1"), own, AGENT, identity("there"))
    assert said["ca"][0] == "PERMISSION_DENIED"
    assert "no pod of that service account is on node node1" in said["ca"][1]

    said = await ask(in_node("node1"), other, AGENT, identity("there"))
    for answer in said.values():
        assert answer[0] == "UNAUTHENTICATED"
        assert "it is good at node node2 alone" in answer[1]

    waypoint = waypoint_pod(CONFIG)
    pods = CONFIG.pod_token("apps", waypoint)
    who = node_id("waypoint", "apps")
    said = await ask(in_pod(waypoint), pods, who)
    assert said["ca"] == [identity("waypoint")]
    assert said["ads"]

    for place in (in_node("node1"), in_node("node2"), in_pod("a")):
        said = await ask(place, pods, who)
        for answer in said.values():
            assert answer[0] == "UNAUTHENTICATED"
            assert f"it is good at pod apps/{waypoint} alone" in answer[1]

    said = await ask(in_pod("a"), own, AGENT, identity("here"))
    for answer in said.values():
        assert answer[0] == "UNAUTHENTICATED"
        assert "it is good at node node1 alone" in answer[1]

    said = await ask(in_pod(waypoint), pods, who, identity("here"))
    assert said["ca"][0] == "PERMISSION_DENIED"
