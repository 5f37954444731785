"""A stock ztunnel is the agent of node2, ours of node1: either is either end of tunnels."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.manifests import (
    allow,
    authentication,
    documents,
    gateway,
    idle,
    namespace,
    pod,
    route,
    service,
)
from tests.support.mesh import MeshHandle, eventually
from tests.support.ztunnel import ZtunnelMesh

pytestmark = pytest.mark.interop

#: Whose agent is ours, and whose is ztunnel; where each end's client calls.
OURS, THEIRS = "node1", "node2"
WAYS = {"from ours": ("ours", "web-theirs"), "from theirs": ("theirs", "web-ours")}
HALF_CLOSE = """
import socket, sys
with socket.create_connection((sys.argv[1], 80), 10) as made:
    made.sendall(b"POST /sink HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n"
                 b"content-length: 100000\\r\\n\\r\\n" + b"x" * 100000)
    made.shutdown(socket.SHUT_WR)
    answer = b""
    while data := made.recv(65536):
        answer += data
print(answer.partition(b"\\r\\n\\r\\n")[2].decode())
"""


MANIFESTS = {
    "app.yaml": documents(
        namespace("apps", dataplane_mode="ambient"),
        *(
            each
            for name, node in (("ours", OURS), ("theirs", THEIRS))
            for each in (
                idle(f"client-{name}", "apps", node=node),
                pod(f"echo-{name}", "echo.py", "8080", namespace="apps", port=8080, node=node),
                service(
                    f"web-{name}", 80, 8080, namespace="apps", selector=f"pod: echo-{name}"
                ),
            )
        ),
        namespace("plain"),
        idle("client", "plain", node=OURS),
        # So that the waypoint's pod comes to the other node, which has fewer.
        *(idle(f"spare-{number}", "plain", node=THEIRS) for number in range(3)),
    )
}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeshHandle]:
    folder = tmp_path_factory.mktemp("interop") / "mesh"
    folder.mkdir()
    made = ZtunnelMesh(("interop", folder, 92), 2, [THEIRS])
    for file, text in MANIFESTS.items():
        made.write(file, text)
    with made.up():
        made.redirect(made.pod("client-theirs", "apps"), made.pod("echo-theirs", "apps"))
        yield made


def curl(mesh: MeshHandle, way: str, path: str = "/", *options: str) -> str:
    client, name = WAYS[way]
    argv = ["curl", "-sS", "--max-time", "60", *options, f"http://{name}.apps{path}"]
    return mesh.run(f"client-{client}", *argv, namespace="apps").stdout


def status(mesh: MeshHandle, way: str) -> str:
    """The status of a request, 000 where the connection was broken off."""
    client, name = WAYS[way]
    argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://{name}.apps/"]
    done = mesh.run(f"client-{client}", *argv, namespace="apps", check=False)
    return done.stdout


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", ["-4", "-6"])
def test_requests_arrive(mesh: MeshHandle, way: str, family: str) -> None:
    told: dict[str, Any] = json.loads(curl(mesh, way, "/hello", family))
    assert told["path"] == "/hello"


@pytest.mark.parametrize("way", WAYS)
def test_many_bytes_arrive_whole_both_ways(mesh: MeshHandle, way: str, tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(os.urandom(1 << 20) * 100)
    told = json.loads(curl(mesh, way, "/sink", "-H", "Expect:", "--data-binary", f"@{blob}"))
    assert told["sha256"] == hashlib.sha256(blob.read_bytes()).hexdigest()
    size = curl(mesh, way, "/bytes/100000000", "-o", "/dev/null", "-w", "%{size_download}")
    assert size == "100000000"


@pytest.mark.parametrize("way", WAYS)
def test_half_close_is_carried(mesh: MeshHandle, way: str) -> None:
    client, name = WAYS[way]
    argv = ["/usr/bin/python3", "-c", HALF_CLOSE, f"{name}.apps"]
    told = json.loads(mesh.run(f"client-{client}", *argv, namespace="apps").stdout)
    assert told["sha256"] == hashlib.sha256(b"x" * 100000).hexdigest()


@pytest.mark.parametrize("way", WAYS)
def test_many_at_once(mesh: MeshHandle, way: str) -> None:
    client, name = WAYS[way]
    argv = ["wrk", "-t1", "-c64", "-d2s", f"http://{name}.apps/"]
    told = mesh.run(f"client-{client}", *argv, namespace="apps").stdout
    assert "Requests/sec" in told
    assert "Non-2xx" not in told
    assert "Socket errors" not in told


@pytest.mark.parametrize("way", WAYS)
def test_policies_see_who_calls(mesh: MeshHandle, way: str) -> None:
    rules = '- from:\n  - source:\n      principals: ["cluster.local/ns/apps/sa/{}"]\n'
    file = "policy.yaml"
    try:
        mesh.write(file, allow("deny", "apps", rules.format("default"), action="DENY"))
        eventually(lambda: status(mesh, way) == "000", "denied")
        mesh.write(file, allow("deny", "apps", rules.format("other"), action="DENY"))
        eventually(lambda: status(mesh, way) == "200", "let in again")
        mesh.write(file, allow("others", "apps", rules.format("other")))
        eventually(lambda: status(mesh, way) == "000", "not allowed")
    finally:
        (mesh.folder / file).unlink()
    eventually(lambda: status(mesh, way) == "200", "without a policy")


def test_strict_lets_tunnels_in_and_nothing_else(mesh: MeshHandle) -> None:
    addresses = [mesh.pod(f"echo-{name}", "apps")["ips"][0] for name in ("ours", "theirs")]

    def plain() -> set[str]:
        return {
            mesh.run(
                "client", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}",
                f"http://{address}:8080/", namespace="plain", check=False,
            ).stdout
            for address in addresses
        }  # fmt: skip

    assert plain() == {"200"}
    file = mesh.write("strict.yaml", authentication("STRICT", "apps"))
    try:
        eventually(lambda: plain() == {"000"}, "plain text is refused at both nodes")
        assert [status(mesh, way) for way in WAYS] == ["200", "200"]
    finally:
        file.unlink()
    eventually(lambda: plain() == {"200"}, "plain text is taken again")


def test_ztunnel_reaches_a_waypoint_of_ours(mesh: MeshHandle) -> None:
    rules = (
        "- filters:\n  - type: ResponseHeaderModifier\n    responseHeaderModifier:\n"
        "      set: [{name: x-waypoint, value: tandem}]\n"
        "  backendRefs: [{name: web-ours, port: 80}]\n"
    )
    manifests = documents(gateway("gate", "apps"), route("r", "web-ours", rules, "apps"))
    mesh.write("waypoint.yaml", manifests)
    before = namespace("apps", dataplane_mode="ambient")
    after = namespace("apps", dataplane_mode="ambient", use_waypoint="gate")
    mesh.write("app.yaml", MANIFESTS["app.yaml"].replace(before, after))

    def passed(client: str) -> bool:
        argv = ["curl", "-s", "-i", "http://web-ours.apps/"]
        done = mesh.run(f"client-{client}", *argv, namespace="apps", check=False)
        return "x-waypoint: tandem" in done.stdout

    for client in ("ours", "theirs"):
        eventually(lambda client=client: passed(client), f"{client} through the waypoint")
