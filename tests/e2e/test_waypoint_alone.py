"""A waypoint outside the mesh's L4 engine: a certificate of its own, HBONE at both ends."""

from __future__ import annotations

import json

from tests.e2e.manifests import allow, documents, gateway, idle, namespace, pod, route, service
from tests.support.mesh import MeshHandle, eventually

NS = "alone"
OUTSIDE = "  labels:\n    istio.io/dataplane-mode: none\n    istio.io/waypoint-for: service\n"

MANIFESTS = {
    "mesh.yaml": documents(
        namespace(NS, dataplane_mode="ambient", use_waypoint="waypoint"),
        gateway("waypoint", NS).replace(
            "  labels:\n    istio.io/waypoint-for: service\n", OUTSIDE
        ),
        pod("web", "echo.py", "8080", "web", namespace=NS, port=8080),
        service("web", 80, 8080, namespace=NS),
        route(
            "web",
            "web",
            "- filters:\n  - type: RequestHeaderModifier\n    requestHeaderModifier:\n"
            "      set: [{name: x-through, value: waypoint}]\n"
            "  backendRefs:\n  - name: web\n    port: 80\n",
            NS,
        ),
        idle("client", NS),
    )
}

ASK = "import urllib.request as u; print(u.urlopen('http://web/x', timeout=10).read().decode())"


def answer(mesh: MeshHandle) -> dict[str, object]:
    done = mesh.run("client", "/usr/bin/python3", "-c", ASK, namespace=NS)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_requests_go_through_it_by_hbone(mesh: MeshHandle) -> None:
    eventually(lambda: answer(mesh)["headers"]["x-through"] == "waypoint", "routed", 60)  # type: ignore[index]
    waypoint = mesh.pod("waypoint", NS)
    # The server's node agent ends the waypoint's tunnel, and shows the waypoint's address.
    assert str(answer(mesh)["peer"]).removeprefix("::ffff:") in waypoint["ips"]
    lines = mesh.tandem("logs", "-n", NS, "waypoint").splitlines()
    line = next(line for line in reversed(lines) if '"GET /x ' in line)
    assert f'"spiffe://cluster.local/ns/{NS}/sa/default"' in line
    dump = mesh.dump("waypoint", f"{NS}/waypoint")
    assert dump["config"]["l4_mode"] == "none"


def test_a_policy_sees_the_waypoint(mesh: MeshHandle) -> None:
    """What lets in nobody but the waypoint closes the way around it."""
    address = next(ip for ip in mesh.pod("web", NS)["ips"] if ":" not in ip)
    direct = f"import socket; socket.create_connection(('{address}', 8080), 5)"

    def connects() -> bool:
        return not mesh.run(
            "client", "/usr/bin/python3", "-c", direct, namespace=NS, check=False
        ).returncode

    assert connects()
    source = f"- from:\n  - source:\n      principals: [cluster.local/ns/{NS}/sa/waypoint]\n"
    mesh.write("policy.yaml", allow("waypoint", NS, source, app="web"))
    eventually(lambda: not connects(), "refused")
    assert answer(mesh)["path"] == "/x"
