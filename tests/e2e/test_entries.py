"""What runs outside of the mesh, as services of it: here, processes on the machine."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network

import pytest

from tests.e2e.manifests import documents, idle, namespace, service
from tests.support.mesh import PROGRAMS, MeshHandle, eventually

MANIFESTS = {
    "mesh.yaml": documents(
        namespace("apps", dataplane_mode="ambient"),
        namespace("plain"),
        idle("client", "apps"),
        idle("outsider", "plain"),
        service("vm", 80, 8080, namespace="apps", dual=False),
    )
}
ENTRY = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: books
  namespace: apps
spec:
  hosts: [books.example, "*.books.example"]
  resolution: STATIC
  addresses: [{addresses}]
  ports:
  - number: 80
    name: http
  endpoints:
  - address: {address}
    ports:
      http: {port}
"""
WORKLOAD = """\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: vm
  namespace: apps
spec:
  address: {address}
  labels:
    app: vm
  ports:
    http: {port}
"""
ASK = ("curl", "-sS", "-m", "5", "-w", "\n%{remote_ip}")


@contextmanager
def outside(name: str) -> Iterator[int]:
    """A server on the machine itself; its port."""
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::", 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, str(PROGRAMS / "echo.py"), str(port), name]
    with subprocess.Popen(command) as process:
        try:
            eventually(
                lambda: socket.create_connection(("127.0.0.1", port)).close() is None, name
            )
            yield port
        finally:
            process.kill()


def host_address(mesh: MeshHandle) -> str:
    """Where the machine is, from the mesh."""
    return f"10.{mesh.octet}.255.254"


def ask(mesh: MeshHandle, url: str, client: str = "client", space: str = "apps") -> list[str]:
    """Who answers, and the address that was asked."""
    done = mesh.run(client, *ASK, url, namespace=space)
    body, address = done.stdout.rsplit("\n", 1)
    return [json.loads(body)["name"], address]


def endpoints(mesh: MeshHandle, name: str) -> str:
    return next((r["endpoints"] for r in mesh.rows("services") if r["name"] == name), "none")


@pytest.mark.parametrize(
    ("addresses", "name", "within"),
    [
        ("", "books.example", "240.240.0.0/16"),
        ("198.51.100.7", "www.books.example", "198.51.100.7/32"),
    ],
)
def test_a_host_leads_outside_and_follows_its_file(
    mesh: MeshHandle, addresses: str, name: str, within: str
) -> None:
    place = {"address": host_address(mesh), "addresses": addresses}
    with outside("one") as one, outside("two") as two:
        mesh.write("books.yaml", ENTRY.format(port=one, **place))
        eventually(lambda: endpoints(mesh, "books.example") == "1/1", "the entry")
        url = f"http://{name}/"
        answered, address = eventually(lambda: ask(mesh, url), "the first answer")
        assert answered == "one"
        assert ip_address(address) in ip_network(within)
        mesh.write("books.yaml", ENTRY.format(port=two, **place))
        eventually(lambda: ask(mesh, url)[0] == "two", "the second server")
        if not addresses:
            assert ask(mesh, url, "outsider", "plain")[0] == "two"
    refused = mesh.run("client", *ASK, f"http://{name}:81/", namespace="apps", check=False)
    assert refused.returncode == 7


def test_a_service_selects_a_workload_entry(mesh: MeshHandle) -> None:
    with outside("vm") as port:
        mesh.write("vm.yaml", WORKLOAD.format(address=host_address(mesh), port=port))
        eventually(lambda: endpoints(mesh, "vm") == "1/1", "the entry")
        for client, space in (("client", "apps"), ("outsider", "plain")):
            found = eventually(
                lambda c=client, s=space: ask(mesh, "http://vm.apps/", c, s), "an answer"
            )
            assert found[0] == "vm"
        (row,) = [r for r in mesh.rows("workloads") if r["kind"] == "WorkloadEntry"]
        assert (row["name"], row["ip"], row["services"]) == ("vm", host_address(mesh), "1")
