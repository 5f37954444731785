"""`tandem dump` against a fake mesh and real network namespaces."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.cli import dumps
from deploy.cli.__main__ import main
from deploy.cli.errors import CommandError
from tests.support.fake_mesh import FakeMesh

ADMIN = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"path": "%s"}' % self.path.encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
server = HTTPServer(("127.0.0.1", 15000), Handler)
print("ready", flush=True)
server.serve_forever()
"""


def waypoint(namespace: str, name: str) -> dict[str, object]:
    return {"namespace": namespace, "labels": {dumps.GATEWAY_NAME: name}}


@contextmanager
def admin(netns: Path) -> Iterator[None]:
    """A process in a netns that answers on the admin port with the path it was asked."""
    with subprocess.Popen(
        ["ip", "netns", "exec", netns.name, sys.executable, "-c", ADMIN],
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def test_dump_control(mesh: FakeMesh, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.api.answers["GET", "/v1/dump"] = (200, {"services": {"a/b": {}}})
    assert main(["dump", "control", "--name", mesh.name]) == 0
    assert json.loads(capsys.readouterr().out) == {"services": {"a/b": {}}}


def test_dump_asks_the_admin_port_in_its_netns(netns: Path) -> None:
    with admin(netns):
        assert dumps.admin_dump(netns, "it") == {"path": "/config_dump"}


def test_dump_of_what_does_not_answer(netns: Path) -> None:
    with pytest.raises(CommandError) as caught:
        dumps.admin_dump(netns, "the waypoint w")
    assert "the waypoint w does not answer on its admin port" in str(caught.value)
    with pytest.raises(CommandError) as caught:
        dumps.admin_dump(netns.with_name("nope"), "it")
    assert "has no network namespace" in str(caught.value)


def test_dump_waypoint_finds_the_only_one(
    mesh: FakeMesh, netns: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pods = [waypoint("apps", "way"), waypoint("apps", "way"), {"namespace": "a", "labels": {}}]
    mesh.api.answers["GET", "/v1/snapshot"] = (200, {"pods": pods})
    mesh.pod("apps", "way-abc12-0", netns=str(netns))
    mesh.pod("apps", "way-2-abc12-0")
    with admin(netns):
        assert main(["dump", "waypoint", "--name", mesh.name]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": "/config_dump"}


def test_dump_waypoint_by_name_needs_no_control_plane(
    mesh: FakeMesh, netns: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mesh.state / "control.sock").unlink()
    mesh.pod("apps", "way-abc12-0", netns="/run/netns/wrong")
    mesh.pod("shop", "way-abc12-0", netns=str(netns))
    with admin(netns):
        assert main(["dump", "waypoint", "shop/way", "--name", mesh.name]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": "/config_dump"}


def test_dump_waypoint_names_them_when_there_are_two(
    mesh: FakeMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    pods = [waypoint("shop", "way"), waypoint("apps", "way")]
    mesh.api.answers["GET", "/v1/snapshot"] = (200, {"pods": pods})
    assert main(["dump", "waypoint", "--name", mesh.name]) == 1
    assert "which waypoint? name one of: apps/way, shop/way" in capsys.readouterr().err


def test_dump_node_needs_a_name_when_there_are_two(
    mesh: FakeMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    for node in ("node1", "node2"):
        (mesh.state / "nodes" / node).mkdir(parents=True)
    assert main(["dump", "node", "--name", mesh.name]) == 1
    assert "which node? name one of: node1, node2" in capsys.readouterr().err
    assert main(["dump", "node", "node3", "--name", mesh.name]) == 1
    assert "no node 'node3'; there is: node1, node2" in capsys.readouterr().err
