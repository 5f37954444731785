"""Three nodes on one machine: what is each node's own, and what all of them share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.standalone.config import NETNS_DIR
from tests.bpf.raw import SYN, Forger, Segment, forger
from tests.e2e.manifests import (
    authentication,
    documents,
    gateway,
    idle,
    namespace,
    pod,
    service,
)
from tests.e2e.processes import process
from tests.support.mesh import TANDEM, MeshHandle, eventually
from tests.support.netns import Netns

NODES = 3
NAMES = ("node1", "node2", "node3")


def on(manifest: str, asked: str) -> str:
    """A pod that asks for a node."""
    return manifest.replace("spec:\n", f"spec:\n  {asked}\n", 1)


MANIFESTS = {
    "node.yaml": "apiVersion: v1\nkind: Node\nmetadata:\n  name: node3\n"
    "  labels:\n    disk: fast\n    topology.kubernetes.io/zone: c\n",
    "apps.yaml": documents(
        namespace("apps", dataplane_mode="ambient"),
        *(
            on(
                pod(f"echo-{node}", "echo.py", "8080", namespace="apps", app="echo", port=8080),
                f"nodeName: {node}",
            )
            for node in NAMES
        ),
        service("web", 80, 8080, namespace="apps", selector="app: echo"),
        service("third", 80, 8080, namespace="apps", selector="pod: echo-node3"),
        *(on(idle(f"client-{node}", "apps"), f"nodeName: {node}") for node in NAMES),
        on(idle("picky", "apps"), "nodeSelector: {disk: fast}"),
        on(idle("named", "apps"), "nodeSelector: {kubernetes.io/hostname: node2}"),
    ),
    "plain.yaml": documents(
        namespace("plain"),
        *(idle(f"free-{number}", "plain") for number in range(3)),
        *(on(idle(f"outsider-{node}", "plain"), f"nodeName: {node}") for node in NAMES),
    ),
}


def curl(mesh: MeshHandle, name: str, url: str, space: str = "apps") -> Any:
    done = mesh.run(name, "curl", "-sS", "-m", "5", url, namespace=space)
    return json.loads(done.stdout)


def nodes_of(mesh: MeshHandle) -> dict[str, str]:
    return {row["name"]: row["node"] for row in mesh.rows("pods")}


def test_pods_are_where_they_ask_to_be_and_the_others_are_spread(mesh: MeshHandle) -> None:
    places = nodes_of(mesh)
    assert all(places[f"{name}-{n}"] == n for name in ("echo", "client") for n in NAMES)
    assert (places["picky"], places["named"]) == ("node3", "node2")
    counts = Counter(places.values())
    assert max(counts.values()) - min(counts.values()) <= 1
    zones = {row["name"]: row["locality"] for row in mesh.rows("workloads")}
    assert (zones["echo-node3"], zones["echo-node1"]) == ("c", "-")


@pytest.mark.parametrize(("space", "client"), [("apps", "client"), ("plain", "outsider")])
def test_every_pod_reaches_every_pod(mesh: MeshHandle, space: str, client: str) -> None:
    for here in NAMES:
        own = mesh.pod(f"{client}-{here}", space)["ips"]
        for there in NAMES:
            for family, ip in enumerate(mesh.pod(f"echo-{there}", "apps")["ips"]):
                url = f"http://[{ip}]:8080/" if family else f"http://{ip}:8080/"
                answer = curl(mesh, f"{client}-{here}", url, space)
                assert answer["name"] == f"echo-{there}"
                assert answer["peer"].removeprefix("::ffff:") == own[family]


@pytest.mark.parametrize(("space", "client"), [("apps", "client"), ("plain", "outsider")])
def test_names_and_balancing_are_the_same_on_every_node(
    mesh: MeshHandle, space: str, client: str
) -> None:
    everyone = {f"echo-{node}" for node in NAMES}
    for node in NAMES:
        seen: set[str] = set()
        for _ in range(60):
            seen.add(curl(mesh, f"{client}-{node}", "http://web.apps/", space)["name"])
            if seen == everyone:
                break
        assert seen == everyone


def test_what_is_a_nodes_own_has_its_name(mesh: MeshHandle) -> None:
    pins = Path("/sys/fs/bpf") / f"tandem-{mesh.name}"
    assert {path.name for path in pins.iterdir()} == set(NAMES)
    netns = {p.name for p in NETNS_DIR.iterdir() if p.name.startswith(mesh.name)}
    assert {f"{mesh.name}-{node}" for node in NAMES} <= netns
    for node in NAMES:
        assert (mesh.state / "nodes" / node / "ztunnel.sock").is_socket()
        assert (mesh.state / "logs" / f"daemon-{node}.log").exists()
        assert f"/{node}/" in mesh.pod(f"echo-{node}", "apps")["cgroup"]
        enrolled = str(mesh.dump("node", node)["enrolled"])
        assert [n for n in NAMES if f"echo-{n}" in enrolled] == [node]
    said = mesh.tandem("dump", "node", check=False)
    assert "which node? name one of: node1, node2, node3" in said


def test_a_spoofed_source_reaches_no_other_node(mesh: MeshHandle) -> None:
    spoofer, owner, target = (mesh.pod(f"outsider-{n}", "plain") for n in NAMES)
    with forged(spoofer, target) as (forging, heard):
        for family in (0, 1):
            sources = (owner["ips"][family], target["ips"][family], spoofer["ips"][family])
            end = (target["ips"][family], 80)
            for number, source in enumerate(sources):
                forging.send(Segment((source, 4000 + number), end, SYN))
            # The one with its own address comes last, and is all that comes.
            assert heard.heard(end).source == (sources[-1], 4002)


def test_a_node_takes_nothing_in_its_own_pods_names_from_outside(mesh: MeshHandle) -> None:
    """What another node would let through: forged in its own netns, below its pods."""
    owner, target = mesh.pod("client-node2", "apps"), mesh.pod("outsider-node2", "plain")
    node1 = {"netns": str(NETNS_DIR / f"{mesh.name}-node1")}
    with forged(node1, target) as (forging, heard):
        for family in (0, 1):
            end = (target["ips"][family], 81)
            honest = mesh.pod("client-node3", "apps")["ips"][family]
            for number, source in enumerate((owner["ips"][family], honest)):
                forging.send(Segment((source, 5000 + number), end, SYN))
            assert heard.heard(end).source == (honest, 5001)


@contextmanager
def forged(spoofer: dict[str, Any], target: dict[str, Any]) -> Iterator[tuple[Forger, Forger]]:
    """Who forges in one place, and who hears in another."""
    with (
        netns_of(spoofer) as here,
        netns_of(target) as there,
        forger(here) as forging,
        forger(there, resets=True) as heard,
    ):
        yield forging, heard


@contextmanager
def netns_of(place: dict[str, Any]) -> Iterator[Netns]:
    with Path(place["netns"]).open("rb") as file:
        yield Netns(file.fileno(), "", "")


def test_what_fits_nowhere_waits_and_says_why(mesh: MeshHandle) -> None:
    mesh.write("late.yaml", on(idle("late", "apps"), "nodeSelector: {gpu: some}"))

    def pending() -> dict[str, str] | None:
        rows = [row for row in mesh.rows("pods") if row["name"] == "late"]
        return rows[0] if rows else None

    row = eventually(pending, "the pod is listed")
    assert (row["status"], row["node"]) == ("Pending: no node is gpu=some", "-")
    found = [each["message"] for each in mesh.rows("problems")]
    assert any("no node is gpu=some: the mesh has node1, node2, node3" in m for m in found)
    mesh.write(
        "gpu.yaml",
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: node2\n  labels:\n    gpu: some\n",
    )
    eventually(
        lambda: any(
            row["name"] == "late" and row["ready"] == "1/1" and row["node"] == "node2"
            for row in mesh.rows("pods")
        ),
        "the pod runs on the node that has what it asks for",
    )


def test_strict_refuses_plain_connections_from_every_node(mesh: MeshHandle) -> None:
    url = f"http://{mesh.pod('echo-node1', 'apps')['ips'][0]}:8080/"

    def outcomes() -> list[int]:
        return [
            mesh.run(
                f"outsider-{n}", "curl", "-sS", "-m", "5", url, namespace="plain", check=False
            ).returncode
            for n in NAMES
        ]

    assert outcomes() == [0, 0, 0]
    mesh.write("strict.yaml", authentication("STRICT"))
    refused = 7  # curl's word for it
    eventually(lambda: outcomes() == [refused] * 3, "nobody gets in from outside of the mesh")
    mesh.write("strict.yaml", "")
    eventually(lambda: outcomes() == [0, 0, 0], "everybody gets in again")


def test_a_node_daemons_end_is_noticed_on_no_other_node(mesh: MeshHandle) -> None:
    before = {node: process(mesh, "daemon", node) for node in NAMES}
    with mesh.steady("client-node1", "http://third/", namespace="apps") as steady:
        steady.more(20)
        os.kill(before["node2"], signal.SIGKILL)
        steady.more(50)

        def back() -> bool:
            return process(mesh, "daemon", "node2") != before["node2"] and bool(
                mesh.dump("node", "node2")["services"]
            )

        eventually(back, "the daemon of node2 is back")
        steady.more(20)
    assert steady.failures() == []
    assert process(mesh, "daemon", "node1") == before["node1"]
    assert process(mesh, "daemon", "node3") == before["node3"]


def test_a_waypoint_goes_where_there_is_room(mesh: MeshHandle) -> None:
    before = Counter(nodes_of(mesh).values())
    mesh.write("gateway.yaml", gateway("waypoint", "apps"))

    def ready() -> str:
        rows = [row for row in mesh.rows("pods") if row["name"].startswith("waypoint-")]
        return rows[0]["node"] if rows and rows[0]["ready"] == "1/1" else ""

    assert before[eventually(ready, "the waypoint is ready")] == min(before.values())


def test_a_command_for_a_node_that_is_not_there_is_refused(mesh: MeshHandle) -> None:
    done = subprocess.run(
        [*TANDEM, "dump", "--name", mesh.name, "node", "node9"],
        capture_output=True,
        text=True,
        env=mesh.environment,
        check=False,
    )
    assert done.returncode == 1
    assert "no node 'node9'" in done.stderr
