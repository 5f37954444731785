"""What a waypoint and a node hear at different times: no connection falls in between."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.manifests import documents, gateway, idle, namespace, pod, service
from tests.e2e.processes import process
from tests.support.mesh import MeshHandle, eventually


def web(waypoint: str) -> str:
    """A service, and another one that tells that the same push has come."""
    return documents(
        service("web", 80, 8080, namespace="apps", selector="app: echo", use_waypoint=waypoint),
        service(f"told-{waypoint}", 80, 8080, namespace="apps", selector="app: echo"),
    )


PLAIN = namespace("apps", dataplane_mode="ambient")
LABELLED = namespace("apps", dataplane_mode="ambient", use_waypoint="waypoint")
MANIFESTS = {
    "namespace.yaml": PLAIN,
    "apps.yaml": documents(
        gateway("waypoint", "apps", "all"),
        pod("echo", "echo.py", "8080", namespace="apps", app="echo", port=8080),
        idle("client", "apps"),
    ),
    "web.yaml": web("none"),
}


@contextmanager
def cut_off(mesh: MeshHandle, prefix: str) -> Iterator[None]:
    """Refuse a pod's connections to the control plane."""
    rule = "tcp dport 15012 reject with tcp reset"
    table = f"table inet cut {{ chain out {{ type filter hook output priority 0; {rule}; }}; }}"
    mesh.run(prefix, "nft", table, namespace="apps")
    try:
        yield
    finally:
        mesh.run(prefix, "nft", "delete table inet cut", namespace="apps")


def routed(mesh: MeshHandle, what: str) -> bool:
    """Whether somebody knows that web has a waypoint."""
    known = mesh.dump(what)["services"]
    return "waypoint" in known["apps/web.apps.svc.cluster.local"]


def test_nobody_waits_for_a_waypoint_that_has_not_heard_yet(mesh: MeshHandle) -> None:
    with mesh.steady("client", "http://web/", namespace="apps") as steady:
        steady.more(20)
        with cut_off(mesh, "waypoint"):
            os.kill(process(mesh, "deploy.standalone.control"), signal.SIGKILL)
            mesh.write("web.yaml", web("waypoint"))
            eventually(
                lambda: (
                    "apps/told-waypoint.apps.svc.cluster.local" in mesh.dump("node")["services"]
                ),
                "the node hears the control plane again",
                60,
            )
            steady.more(20)
            assert not routed(mesh, "waypoint")
        eventually(lambda: routed(mesh, "node"), "the node hears of the waypoint", 60)
        assert routed(mesh, "waypoint")
        steady.more(20)
        assert steady.failures() == []


def test_a_pod_of_its_own_waypoint_is_reached_while_labels_go_and_come(
    mesh: MeshHandle,
) -> None:
    echo = mesh.pod("echo", "apps")
    address = next(ip for ip in echo["ips"] if "." in ip)

    def behind() -> bool:
        workloads = mesh.dump("node")["workloads"]
        return "waypoint" in next(w for uid, w in workloads.items() if uid.endswith("/echo"))

    with mesh.steady("client", f"http://{address}:8080/", namespace="apps") as steady:
        for labelled in (True, False) * 5:
            mesh.write("namespace.yaml", LABELLED if labelled else PLAIN)
            eventually(lambda now=labelled: behind() == now, "the node has heard")
            steady.more(40)
        assert steady.failures() == []
