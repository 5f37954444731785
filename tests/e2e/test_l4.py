"""The L4 engine as programs meet it: UDP, DNS, external services, figures, restarts."""

from __future__ import annotations

import os
import signal
import socket

from bpf.netns import in_netns
from deploy.standalone.config import NETNS_DIR, MeshConfig
from tests.e2e.manifests import documents, idle, namespace, pod, service
from tests.e2e.processes import process
from tests.support.mesh import MeshHandle, eventually

UDP = """
import socket, sys
address = socket.getaddrinfo(sys.argv[1], 53000, socket.AF_INET, socket.SOCK_DGRAM)[0][4]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(5)
    if sys.argv[2] == "connected":
        s.connect(address)
        s.send(b"hello")
        print(s.recv(100).decode(), s.getpeername() == address)
    else:
        names = []
        for _ in range(8):
            s.sendto(b"hello", address)
            answer, source = s.recvfrom(100)
            names.append(answer.decode())
        print(names[0], source == address and len(set(names)) == 1)
"""

EXTERNAL = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: outside
  namespace: apps
spec:
  hosts: [outside.example.com]
  addresses: [203.0.113.10]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports:
  - number: 80
    name: tcp
    protocol: TCP
    targetPort: 2525
  endpoints:
  - address: ADDRESS
"""

MANIFESTS = {
    "mesh.yaml": documents(
        namespace("apps", dataplane_mode="ambient"),
        namespace("plain"),
        pod("udp-a", "udp_echo.py", "5300", namespace="apps", app="udp", port=5300),
        pod("udp-b", "udp_echo.py", "5300", namespace="apps", app="udp", port=5300),
        service("udp", 53000, 5300, namespace="apps", dual=False).replace(
            "  - name: http\n", "  - name: udp\n    protocol: UDP\n"
        ),
        pod("greeter", "greeter.py", "2525", namespace="apps", port=2525),
        service("greeter", 80, 2525, namespace="apps"),
        pod("external", "greeter.py", "2525", namespace="plain", port=2525),
        idle("client", "apps"),
    )
}
GREET = """
import socket, sys
with socket.create_connection((sys.argv[1], 80), 5) as s:
    print(s.recv(100).decode().split()[1])
"""


def python(mesh: MeshHandle, code: str, *arguments: str) -> str:
    """What a program printed in the client's pod."""
    command = ["/usr/bin/python3", "-c", code, *arguments]
    return mesh.run("client", *command, namespace="apps").stdout.strip()


def metrics(mesh: MeshHandle) -> str:
    """The node agent's page of figures."""
    netns = NETNS_DIR / MeshConfig(name=mesh.name).node_netns("node1")
    with netns.open("rb") as file, in_netns(file.fileno()):
        connection = socket.create_connection(("127.0.0.1", 15020), 5)
    with connection, connection.makefile("rb") as reader:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        return reader.read().decode()


def test_udp_answers_come_from_the_address_that_was_asked(mesh: MeshHandle) -> None:
    for way in ("connected", "unconnected"):
        name, hello, right = python(mesh, UDP, "udp.apps", way).split()
        assert name in {"udp-a", "udp-b"}
        assert (hello, right) == ("hello", "True")


def test_names_are_answered_by_the_node_agent_and_by_the_cluster_without_it(
    mesh: MeshHandle,
) -> None:
    assert python(mesh, GREET, "greeter") == "greeter"
    eventually(lambda: "istio_dns_requests_total" in metrics(mesh), "the query's figure")
    os.kill(process(mesh, "daemon"), signal.SIGKILL)
    assert python(mesh, GREET, "greeter.apps.svc.cluster.local") == "greeter"


def test_a_service_outside_of_the_mesh_has_a_name_and_an_address(mesh: MeshHandle) -> None:
    address = next(ip for ip in mesh.pod("external", "plain")["ips"] if ":" not in ip)
    mesh.write("external.yaml", EXTERNAL.replace("ADDRESS", address))
    eventually(
        lambda: python(mesh, GREET, "outside.example.com") == "external", "the external service"
    )
    assert python(mesh, GREET, "203.0.113.10") == "external"


def test_istios_figures_from_both_points_of_view(mesh: MeshHandle) -> None:
    assert python(mesh, GREET, "greeter") == "greeter"

    def seen() -> bool:
        lines = [
            line
            for line in metrics(mesh).splitlines()
            if line.startswith("istio_tcp_connections_closed_total{")
            and 'source_workload="client"' in line
            and 'destination_workload="greeter"' in line
            and 'destination_service="greeter.apps.svc.cluster.local"' in line
            and 'connection_security_policy="kernel_verified"' in line
        ]
        return {r for r in ("source", "destination") for li in lines if f'"{r}"' in li} == {
            "source",
            "destination",
        }

    eventually(seen, "both reporters' figures")
