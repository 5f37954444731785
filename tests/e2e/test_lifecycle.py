"""Labels taken off, processes killed: what flows goes on flowing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

from tests.e2e.manifests import documents, gateway, idle, namespace, pod, service
from tests.e2e.processes import process
from tests.support.mesh import MeshHandle, eventually

LABELLED = namespace("apps", dataplane_mode="ambient", use_waypoint="waypoint")
MANIFESTS = {
    "namespace.yaml": LABELLED,
    "apps.yaml": documents(
        gateway("waypoint", "apps"),
        pod("echo", "echo.py", "8080", namespace="apps", port=8080),
        pod("greeter", "greeter.py", "2525", namespace="apps", port=2525),
        service("web", 80, 8080, namespace="apps", selector="app: echo"),
        service(
            "direct", 80, 8080, namespace="apps", selector="app: echo", use_waypoint="none"
        ),
        service("greeter", 25, 2525, namespace="apps", port_name="tcp", use_waypoint="none"),
        idle("client", "apps"),
        namespace("plain"),
        idle("outsider", "plain"),
    ),
}


def waypoint_name_in_log(mesh: MeshHandle, path: str) -> bool:
    return path in mesh.tandem("logs", "-n", "apps", "waypoint")


def curl(mesh: MeshHandle, url: str) -> Any:
    return json.loads(
        mesh.run("client", "curl", "-sS", "-m", "5", url, namespace="apps").stdout
    )


def new_process(mesh: MeshHandle, module: str, old: int) -> int:
    def other() -> int:
        return found if (found := process(mesh, module)) != old else 0

    return eventually(other, f"{module} runs again")


def test_taking_the_label_off_returns_to_plain_traffic(mesh: MeshHandle) -> None:
    curl(mesh, "http://web/in-the-mesh")
    eventually(lambda: waypoint_name_in_log(mesh, "/in-the-mesh"), "the waypoint saw it")
    with mesh.steady("client", "http://web/", namespace="apps") as steady:
        steady.more(50)
        mesh.write("namespace.yaml", namespace("apps"))
        eventually(
            lambda: not any("client" in str(p) for p in mesh.dump("node")["enrolled"].values()),
            "client left the mesh",
        )
        steady.more(100)
        curl(mesh, "http://web/out-of-the-mesh")
        mesh.write("namespace.yaml", LABELLED)
        eventually(
            lambda: any("client" in str(p) for p in mesh.dump("node")["enrolled"].values()),
            "client is back",
        )
        steady.more(100)
    assert steady.failures() == []
    curl(mesh, "http://web/back-in-the-mesh")
    eventually(
        lambda: waypoint_name_in_log(mesh, "/back-in-the-mesh"), "the waypoint sees it again"
    )
    assert not waypoint_name_in_log(mesh, "/out-of-the-mesh")


def test_a_killed_control_plane_is_not_missed(mesh: MeshHandle) -> None:
    with (
        mesh.steady("client", "http://web/", namespace="apps") as steady,
        mesh.steady("outsider", "http://web.apps/", namespace="plain") as outside,
    ):
        steady.more(50)
        old = process(mesh, "deploy.standalone.control")
        os.kill(old, signal.SIGKILL)
        steady.more(50)
        new_process(mesh, "deploy.standalone.control", old)
        mesh.write(
            "more.yaml", service("later", 80, 8080, namespace="apps", selector="app: echo")
        )
        eventually(
            lambda: (
                curl(mesh, "http://later/")["name"] == "echo" if has(mesh, "later") else False
            ),
            "caught up",
        )
        steady.more(50)
        outside.more(50)
    assert steady.failures() == []
    assert outside.failures() == []


def has(mesh: MeshHandle, name: str) -> bool:
    key = f"apps/{name}.apps.svc.cluster.local"
    return key in mesh.dump("node")["services"] and key in mesh.dump("waypoint")["services"]


def test_a_killed_daemon_is_not_missed(mesh: MeshHandle) -> None:
    talk = (
        "import socket, sys\n"
        "s = socket.create_connection(('greeter', 25), 5); s.recv(100)\n"
        "for line in sys.stdin.buffer:\n"
        "    s.sendall(line); sys.stdout.buffer.write(s.recv(100)); sys.stdout.flush()\n"
    )
    argv = mesh.argv(mesh.pod("client", "apps"), ["/usr/bin/python3", "-c", talk])
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as session:
        writer, reader = session.stdin, session.stdout
        assert writer is not None
        assert reader is not None

        def say(word: bytes) -> bytes:
            writer.write(word)
            writer.flush()
            return reader.readline()

        assert say(b"before\n") == b"before\n"
        with mesh.steady("client", "http://direct/", namespace="apps") as steady:
            steady.more(50)
            old = process(mesh, "daemon")
            os.kill(old, signal.SIGKILL)
            steady.more(50)
            assert say(b"between\n") == b"between\n"
            new_process(mesh, "daemon", old)
            eventually(lambda: mesh.dump("node")["services"], "the daemon is back")
            steady.more(50)
            mesh.write(
                "again.yaml", service("again", 80, 8080, namespace="apps", selector="app: echo")
            )
            eventually(lambda: has(mesh, "again"), "it takes pushes again")
            assert curl(mesh, "http://again/")["name"] == "echo"
        assert say(b"after\n") == b"after\n"
        writer.close()
    assert steady.failures() == []


def test_a_killed_waypoint_fails_fast_until_it_is_back(mesh: MeshHandle) -> None:
    curl(mesh, "http://web/")
    victim = mesh.pod("waypoint", "apps")
    with mesh.steady("client", "http://web/", namespace="apps") as steady:
        steady.more(20)
        os.kill(victim["pid"], signal.SIGKILL)
        eventually(steady.failures, "a failure, at once")
        eventually(lambda: all(a["ok"] for a in steady.more(20)), "the waypoint is back")
    for failure in steady.failures():
        assert "imed out" not in failure["error"]
    refused = {
        k: v for k, v in mesh.dump("node")["counters"].items() if "waypoint" in k.lower()
    }
    assert refused
