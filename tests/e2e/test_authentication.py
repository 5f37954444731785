"""PeerAuthentication as a user meets it: who gets in without proof of who they are."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.manifests import authentication, documents, idle, namespace, pod, service
from tests.support.mesh import PROGRAMS, MeshHandle, eventually

#: Tries each port of an address; a line with its outcome for each.
CONNECT = """
import socket, sys
for port in sys.argv[2:]:
    try:
        socket.create_connection((sys.argv[1], int(port)), 10).close()
        print("connected")
    except OSError as error:
        print(type(error).__name__)
"""
GREETER = PROGRAMS / "greeter.py"
IN, OUT = "connected", "ConnectionRefusedError"


def server(name: str, *more: str) -> str:
    """A pod with a greeter at 2525, which probes ask for, and one at each further port."""
    made = pod(name, "greeter.py", "2525", namespace="apps", port=2525)
    extra = "".join(
        f"  - name: at-{port}\n    command: [/usr/bin/python3, {GREETER}, '{port}']\n"
        for port in more
    )
    return made + extra


MANIFESTS = {
    "mesh.yaml": documents(
        namespace("apps", dataplane_mode="ambient"),
        namespace("plain"),
        server("greeter", "2526"),
        service("greeter", 2525, 2525, namespace="apps", port_name="tcp"),
        server("other"),
        pod("echo", "echo.py", "8080", namespace="apps", port=8080),
        service("echo", 80, 8080, namespace="apps"),
        idle("friend", "apps"),
        idle("outsider", "plain"),
    ),
}


def tries(mesh: MeshHandle, client: str, name: str = "greeter", *ports: str) -> list[str]:
    """How connects from a pod ended, in both families: at 2525, or at each of the ports."""
    space = "plain" if client == "outsider" else "apps"
    found = []
    for ip in mesh.pod(name, "apps")["ips"]:
        argv = ["/usr/bin/python3", "-c", CONNECT, ip, *(ports or ("2525",))]
        found.append(mesh.run(client, *argv, namespace=space).stdout.split())
    return [a if a == b else f"{a} or {b}" for a, b in zip(*found, strict=True)]


def settled(mesh: MeshHandle, expected: list[str], *ports: str, name: str = "greeter") -> None:
    """Wait until the outsider is treated so."""
    eventually(
        lambda: tries(mesh, "outsider", name, *ports) == expected, f"{expected} at {name}"
    )


Written = Callable[[str], None]


@pytest.fixture
def written(mesh: MeshHandle) -> Iterator[Written]:
    """Write the PeerAuthentications; none are left for the next test."""

    def write(text: str) -> None:
        mesh.write("peers.yaml", text)

    yield write
    mesh.write("peers.yaml", "")
    settled(mesh, [IN])


def test_strict_takes_who_is_proven_and_probes(mesh: MeshHandle, written: Written) -> None:
    assert tries(mesh, "outsider") == [IN]
    with mesh.steady("friend", "http://echo/", namespace="apps") as steady:
        steady.more(10)
        written(authentication("STRICT"))
        settled(mesh, [OUT])
        assert tries(mesh, "friend") == [IN]
        steady.more(10)
    assert steady.failures() == []
    mesh.write("late.yaml", server("late"))
    eventually(
        lambda: any(r["name"] == "late" and r["ready"] == "1/1" for r in mesh.rows("pods")),
        "its probes' success",
    )
    assert tries(mesh, "outsider", "late") == [OUT]
    row = next(r for r in mesh.rows("policies") if r["kind"] == "PeerAuthentication")
    assert (row["action"], row["scope"], row["state"]) == ("STRICT", "NAMESPACE", "enforced")
    assert "greeter" in row["workloads"]
    log = mesh.state / "logs" / "daemon-node1.log"
    eventually(
        lambda: "istio-system/istio_converted_static_strict" in log.read_text(),
        "the access log names the policy",
    )


def test_the_host_is_a_stranger_too(mesh: MeshHandle, written: Written) -> None:
    address = (mesh.pod("greeter", "apps")["ips"][0], 2525)
    socket.create_connection(address, 10).close()
    written(authentication("STRICT", "istio-system"))
    settled(mesh, [OUT])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, 10)


def test_permissive_takes_everybody_and_goes_before_the_mesh(
    mesh: MeshHandle, written: Written
) -> None:
    strict = authentication("STRICT", "istio-system")
    written(strict)
    settled(mesh, [OUT])
    written(documents(strict, authentication("PERMISSIVE")))
    settled(mesh, [IN])
    written(documents(strict, authentication("DISABLE", app="other")))
    settled(mesh, [OUT])
    settled(mesh, [IN], name="other")


def test_ports_may_differ(mesh: MeshHandle, written: Written) -> None:
    ports = ("2525", "2526")
    strict = authentication("STRICT", name="whole")
    written(documents(strict, authentication("UNSET", app="greeter", p2526="PERMISSIVE")))
    settled(mesh, [OUT, IN], *ports)
    settled(mesh, [OUT], name="other")
    assert tries(mesh, "friend", "greeter", *ports) == [IN, IN]
    written(authentication("PERMISSIVE", app="greeter", p2526="STRICT"))
    settled(mesh, [IN, OUT], *ports)
    assert tries(mesh, "friend", "greeter", *ports) == [IN, IN]


def test_a_bad_mode_is_refused_and_the_last_good_one_stays(
    mesh: MeshHandle, written: Written
) -> None:
    written(authentication("STRICT"))
    settled(mesh, [OUT])
    written(authentication("STRIKT"))
    said = eventually(
        lambda: [r for r in mesh.rows("problems") if r["field"] == "spec.mtls.mode"],
        "the problem is shown",
    )
    assert said[0]["message"] == ("'STRIKT' is none of UNSET, DISABLE, PERMISSIVE, STRICT")
    assert tries(mesh, "outsider") == [OUT]
