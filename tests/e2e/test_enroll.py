"""Processes without a pod join by their cgroup: `tandem enroll`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.manifests import (
    account,
    allow,
    documents,
    entry,
    idle,
    namespace,
    pod,
    service,
)
from tests.e2e.units import cgroup, inside
from tests.support.mesh import PROGRAMS, CommandError, MeshHandle, eventually

MANIFESTS = {
    "mesh.yaml": documents(
        namespace("apps", dataplane_mode="ambient"),
        pod("greeter", "greeter.py", "2525", namespace="apps", port=2525),
        service("greeter", 80, 2525, namespace="apps"),
        allow(
            "only-web",
            "apps",
            "- from:\n  - source:\n      principals: [cluster.local/ns/apps/sa/web]\n",
            app="greeter",
        ),
        allow(
            "only-friends",
            "apps",
            "- from:\n  - source:\n      principals: [cluster.local/ns/apps/sa/friend]\n",
            app="db",
        ),
        idle("friend", "apps").replace("spec:\n", "spec:\n  serviceAccountName: friend\n"),
        idle("stranger", "apps"),
        *map(account, ("db", "web", "friend")),
    ),
}
GREET = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as s:
        print(s.recv(100).decode().split()[1])
except OSError as error:
    print(type(error).__name__)
"""

#: Holds a connection; says "up", then how it ended.
HOLD = """
import socket, sys
with socket.create_connection((sys.argv[1], 7301), 5) as s:
    s.recv(100)
    s.settimeout(30)
    print("up", flush=True)
    try:
        s.recv(1)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""
NOBODY = "- from:\n  - source:\n      notNamespaces: [nowhere]\n"


def greeted(where: Path, address: str, port: int) -> str:
    """Who answers a process of a cgroup."""
    argv = inside(where, "/usr/bin/python3", "-c", GREET, address, str(port))
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def host(mesh: MeshHandle) -> str:
    """The host's own address on the fabric, which two WorkloadEntries have."""
    address = f"10.{mesh.octet}.255.254"
    mesh.write(
        "entries.yaml",
        documents(
            entry("db", address),
            entry("web", "192.0.2.1"),
        ),
    )
    eventually(lambda: "WorkloadEntry/apps/db" in str(mesh.dump("node")), "the entries")
    return address


@pytest.mark.usefixtures("host")
def test_a_process_without_a_pod_is_who_its_entry_says(mesh: MeshHandle) -> None:
    vip = mesh.run("friend", "getent", "ahostsv4", "greeter", namespace="apps").stdout.split()
    with cgroup("web") as web, cgroup("other") as other:
        mesh.tandem("enroll", "--cgroup", str(web), "--workload", "apps/web")
        assert greeted(web, vip[0], 80) == "greeter"
        # Another cgroup of the same host is not of the mesh.
        assert greeted(other, vip[0], 80) == "ConnectionRefusedError"
        assert str(web) in mesh.tandem("enroll")
        mesh.tandem("unenroll", "--cgroup", str(web))
        assert greeted(web, vip[0], 80) == "ConnectionRefusedError"


def test_what_it_listens_on_is_guarded_by_its_port(mesh: MeshHandle, host: str) -> None:
    ask = ["/usr/bin/python3", "-c", GREET, host]
    with cgroup("db") as db:
        early = subprocess.Popen(
            inside(db, "/usr/bin/python3", str(PROGRAMS / "greeter.py"), "7301"),
            env=os.environ | {"NAME": "db"},
        )

        def answers(client: str, port: str) -> str:
            return mesh.run(client, *ask, port, namespace="apps").stdout.strip()

        eventually(lambda: answers("stranger", "7301") == "db", "the server")
        mesh.tandem("enroll", "--cgroup", str(db), "--workload", "apps/db")
        late = subprocess.Popen(
            inside(db, "/usr/bin/python3", str(PROGRAMS / "greeter.py"), "7302"),
            env=os.environ | {"NAME": "db"},
        )
        eventually(lambda: answers("friend", "7302") == "db", "the second server")
        for port in ("7301", "7302"):
            assert answers("friend", port) == "db"
            assert answers("stranger", port) == "ConnectionRefusedError"
        held = subprocess.Popen(
            mesh.argv(mesh.pod("friend", "apps"), ["/usr/bin/python3", "-c", HOLD, host]),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert held.stdout
        assert held.stdout.readline() == "up\n"
        mesh.write("closed.yaml", allow("nobody", "apps", NOBODY, app="db", action="DENY"))
        assert held.stdout.readline() == "ConnectionResetError\n"
        held.wait()
        mesh.tandem("unenroll", "--cgroup", str(db))
        assert answers("stranger", "7301") == "db"
        for server in (early, late):
            server.kill()
            server.wait()


@pytest.mark.usefixtures("host")
def test_what_cannot_be_enrolled_is_said(mesh: MeshHandle) -> None:
    with cgroup("any") as any_cgroup:
        for path, workload, said in (
            (str(any_cgroup), "apps/nobody", "knows no WorkloadEntry or pod"),
            ("/nowhere", "apps/db", "no such directory"),
            ("/tmp", "apps/db", "not in the cgroup v2 file system"),
        ):
            with pytest.raises(CommandError, match=said):
                mesh.tandem("enroll", "--cgroup", path, "--workload", workload)
