"""AuthorizationPolicy as a user meets it: who may connect, and who says so."""

from __future__ import annotations

import time

import pytest

from tests.e2e.held import Held
from tests.e2e.manifests import allow, documents, idle, namespace, pod, service
from tests.support.mesh import MeshHandle, eventually

CONNECT = """
import socket, sys, time
started = time.monotonic()
try:
    socket.create_connection((sys.argv[1], 80), 10).close()
    print("connected")
except OSError as error:
    print(type(error).__name__, time.monotonic() - started)
"""

ACCOUNTS = "".join(
    f"---\napiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n  namespace: apps\n"
    for name in ("friend", "stranger")
)


def caller(name: str) -> str:
    """A pod with a service account of its own name."""
    return idle(name, "apps").replace("spec:\n", f"spec:\n  serviceAccountName: {name}\n")


MANIFESTS = {
    "mesh.yaml": documents(
        namespace("apps", dataplane_mode="ambient"),
        namespace("plain"),
        pod("greeter", "greeter.py", "2525", namespace="apps", port=2525),
        service("greeter", 80, 2525, namespace="apps"),
        pod("other", "greeter.py", "2525", namespace="apps", port=2525),
        service("other", 80, 2525, namespace="apps"),
        caller("friend"),
        caller("stranger"),
        idle("outsider", "plain"),
    )
    + ACCOUNTS,
}
FRIENDS = "- from:\n  - source:\n      principals: [cluster.local/ns/apps/sa/friend]\n"
NOBODY = "- from:\n  - source:\n      principals: [cluster.local/ns/none/sa/none]\n"


def connect(mesh: MeshHandle, name: str, host: str = "greeter.apps") -> str:
    """How a connect from a pod ended, in one word."""
    space = "plain" if name == "outsider" else "apps"
    done = mesh.run(name, "/usr/bin/python3", "-c", CONNECT, host, namespace=space)
    return done.stdout.split()[0]


def node_log(mesh: MeshHandle) -> str:
    """What the node agent has written."""
    return (mesh.state / "logs" / "daemon-node1.log").read_text()


@pytest.fixture
def only_friends(mesh: MeshHandle) -> None:
    """Until the end of the module, the greeter takes nobody but friend."""
    mesh.write("policy.yaml", allow("friends", "apps", FRIENDS, app="greeter"))
    eventually(
        lambda: connect(mesh, "stranger") == "ConnectionRefusedError", "the policy's effect"
    )


@pytest.mark.usefixtures("only_friends")
def test_only_who_is_named_gets_in(mesh: MeshHandle) -> None:
    assert connect(mesh, "friend") == "connected"
    assert connect(mesh, "outsider") == "ConnectionRefusedError"
    assert connect(mesh, "stranger", "other.apps") == "connected"


@pytest.mark.usefixtures("only_friends")
def test_a_refusal_is_quick_logged_and_counted(mesh: MeshHandle) -> None:
    started = time.monotonic()
    assert connect(mesh, "stranger") == "ConnectionRefusedError"
    assert time.monotonic() - started < 5
    eventually(
        lambda: any(
            "stranger" in line and "allow policies exist" in line
            for line in node_log(mesh).splitlines()
        ),
        "the access log's line",
    )


def test_probes_get_in_where_nobody_else_does(mesh: MeshHandle) -> None:
    mesh.write("nobody.yaml", allow("nobody", "apps", NOBODY, app="late"))
    mesh.write(
        "late.yaml",
        documents(
            pod("late", "greeter.py", "2525", namespace="apps", port=2525),
            service("late", 80, 2525, namespace="apps"),
        ),
    )
    eventually(
        lambda: any(r["name"] == "late" and r["ready"] == "1/1" for r in mesh.rows("pods")),
        "its probes' success",
    )
    assert connect(mesh, "friend", "late.apps") == "ConnectionRefusedError"


@pytest.mark.usefixtures("only_friends")
def test_a_push_closes_what_is_now_denied_and_nothing_else(mesh: MeshHandle) -> None:
    with (
        Held(mesh, "friend", "apps", "greeter.apps") as denied,
        Held(mesh, "friend", "apps", "other.apps") as untouched,
    ):
        assert denied.alive()
        mesh.write("policy.yaml", allow("friends", "apps", NOBODY, app="greeter"))
        eventually(lambda: not denied.alive(), "the end of the connection", 10)
        assert untouched.alive()
    mesh.write("policy.yaml", allow("friends", "apps", FRIENDS, app="greeter"))
    eventually(lambda: connect(mesh, "friend") == "connected", "the policy's effect")


def test_a_dry_run_refuses_nobody_and_counts(mesh: MeshHandle) -> None:
    dry = allow("dry", "apps", NOBODY, app="other").replace(
        "  name: dry\n", '  name: dry\n  annotations:\n    istio.io/dry-run: "true"\n'
    )
    mesh.write("dry.yaml", dry)
    eventually(lambda: "apps/dry" in str(mesh.dump("node")), "the policy on the node")
    assert connect(mesh, "stranger", "other.apps") == "connected"
