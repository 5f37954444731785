"""No loop is possible: a waypoint connects to endpoints, whoever names a waypoint."""

from __future__ import annotations

import json

from tests.e2e.manifests import documents, gateway, idle, namespace, pod, service
from tests.support.mesh import MeshHandle, eventually

AMBIENT = {"dataplane_mode": "ambient"}
MANIFESTS = {
    "spaces.yaml": documents(
        namespace("clients", **AMBIENT),
        namespace("gateways", **AMBIENT, use_waypoint="waypoint"),
        namespace(
            "servers", **AMBIENT, use_waypoint="waypoint", use_waypoint_namespace="gateways"
        ),
        gateway("waypoint", "gateways", waypoint_for="all"),
        pod("echo", "echo.py", "8080", namespace="servers", port=8080),
        service("web", 80, 8080, namespace="servers", selector="app: echo"),
        pod("echo", "echo.py", "8080", namespace="gateways", port=8080),
        service("web", 80, 8080, namespace="gateways", selector="app: echo"),
        idle("client", "clients"),
        idle("client", "gateways"),
        idle("client", "servers"),
    )
}


def passes(mesh: MeshHandle, path: str) -> int:
    log = mesh.tandem("logs", "-n", "gateways", "waypoint")
    return sum(path in line for line in log.splitlines())


def test_three_namespaces_and_one_pass(mesh: MeshHandle) -> None:
    for number, client in enumerate(("clients", "gateways", "servers")):
        for target in ("servers", "gateways"):
            path = f"/pass-{number}-{target}"
            done = mesh.run(
                "client", "curl", "-sS", f"http://web.{target}{path}", namespace=client
            )
            assert json.loads(done.stdout)["name"] == "echo"
            eventually(lambda path=path: passes(mesh, path), "the waypoint saw it")
            assert passes(mesh, path) == 1


def test_a_pod_behind_a_workload_waypoint(mesh: MeshHandle) -> None:
    address = next(ip for ip in mesh.pod("echo", "servers")["ips"] if ":" not in ip)
    done = mesh.run(
        "client", "curl", "-sS", f"http://{address}:8080/by-address", namespace="clients"
    )
    answer = json.loads(done.stdout)
    assert answer["name"] == "echo"
    assert answer["peer"].removeprefix("::ffff:") in mesh.pod("waypoint", "gateways")["ips"]
