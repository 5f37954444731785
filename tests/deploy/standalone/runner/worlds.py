"""Meshes of the runner's own, with a fake control plane and fake daemons."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from http.client import HTTPConnection
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from deploy.demo.leftovers import leftovers
from deploy.standalone.config import MeshConfig
from deploy.standalone.runner.app import Mesh
from deploy.standalone.runner.launch import exec_argv
from deploy.standalone.runner.system import Programs

HERE = Path(__file__).parent
PROGRAMS = Programs(
    control=(sys.executable, str(HERE / "fake_control.py")),
    daemon=(sys.executable, str(HERE / "fake_daemon.py")),
)
#: An HTTP server over both families that says which pod it is. Asked to end, it answers
#: what it was asked before: on a busy machine that may still be on its way.
WHOAMI = """
import signal, socket, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Whoami(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"{socket.gethostname()} {self.client_address[0]}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = False
Whoami.timeout = 5
server = Server(("::", 8080), Whoami)
def end(*_):
    threading.Thread(target=server.shutdown).start()
signal.signal(signal.SIGTERM, end)
server.serve_forever(0.05)
server.socket.setblocking(False)
while True:
    try:
        connection, client = server.get_request()
    except BlockingIOError:
        break
    connection.setblocking(True)
    server.process_request(connection, client)
server.server_close()
"""
READINESS = {"kind": "http", "port": 8080, "path": "/"}


def make_config(name: str, octet: int, *nodes: str) -> MeshConfig:
    return MeshConfig(
        name=name,
        nodes=nodes or ("node1",),
        pod_cidr4=IPv4Network(f"10.{octet}.0.0/16"),
        pod_cidr6=IPv6Network(f"fd00:20:{octet}::/48"),
        service_cidr4=IPv4Network(f"10.{octet + 1}.0.0/16"),
        service_cidr6=IPv6Network(f"fd00:20:{octet + 1}::/112"),
    )


class World:
    """What the fake control plane serves; ``write`` publishes a change."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "world.json"
        self.pods: dict[str, dict[str, Any]] = {}
        self.services: list[dict[str, Any]] = []
        self.write()

    def write(self) -> None:
        scratch = self.file.with_suffix(".tmp")
        content = {"pods": list(self.pods.values()), "services": self.services}
        scratch.write_text(json.dumps(content))
        scratch.replace(self.file)

    def pod(self, name: str, command: Sequence[str], **more: Any) -> dict[str, Any]:
        container = {"name": "main", "command": list(command), "args": [], "env": []}
        container |= {
            key: more.pop(key) for key in ("env", "readiness", "working_dir") if key in more
        }
        pod = {
            "namespace": "default",
            "name": name,
            "node": "node1",
            "uid": str(uuid.uuid4()),
            "service_account": "default",
            "labels": {},
            "enrolled": False,
            "hash": "",
            "containers": [container],
            "restart_policy": "Always",
            "grace_period": 2,
        } | more
        self.pods[name] = pod
        return pod

    def server(self, name: str, **more: Any) -> dict[str, Any]:
        command = ["python3", "-c", WHOAMI]
        return self.pod(name, command, **({"readiness": READINESS} | more))

    def service(self, name: str, pods: Sequence[str], vips: Sequence[str], **more: Any) -> None:
        service = {
            "namespace": "default",
            "name": name,
            "hostname": f"{name}.default.svc.cluster.local",
            "vips": list(vips),
            "headless": not vips,
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
            "pods": list(pods),
            "targets": {"80": 8080},
        }
        self.services.append(service | more)


@asynccontextmanager
async def running(config: MeshConfig, world: World) -> AsyncIterator[Mesh]:
    async with Mesh(config, files=[world.file], programs=PROGRAMS) as mesh:
        yield mesh
    assert leftovers(config) == []


async def eventually(ask: Callable[[], Any], what: str, seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            last = ask()
        except (OSError, ValueError, KeyError) as error:
            last, failed = error, True
        else:
            failed = False
        if last and not failed:
            return last
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}; last {last!r}"
        await asyncio.sleep(0.01)


#: Asks a URL over a new connection each time until its input ends; prints how often
#: it asked, and what failed.
ASK = """
import http.client, select, sys
asked, failed = 0, []
while not select.select([sys.stdin], [], [], 0)[0]:
    connection = http.client.HTTPConnection(sys.argv[1], timeout=5)
    try:
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
    except Exception as error:
        failed.append(repr(error))
    connection.close()
    asked += 1
    if asked == 1:
        print("going on", flush=True)
print(asked, failed)
"""


@asynccontextmanager
async def asking(config: MeshConfig, pod: str, vip: str) -> AsyncIterator[None]:
    """Requests to a VIP from a pod, all through the block; none may fail."""
    record = json.loads((config.pod_dir("default", pod) / "pod.json").read_text())
    client = await asyncio.create_subprocess_exec(
        *exec_argv(record, ["python3", "-c", ASK, vip]),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )
    assert client.stdout is not None
    assert await client.stdout.readline() == b"going on\n"
    yield
    output, _ = await client.communicate(b"\n")
    asked, _, failed = output.decode().strip().partition(" ")
    assert failed == "[]", f"{failed} of {asked}"
    assert int(asked) > 20


async def run_in(config: MeshConfig, pod: str, *command: str) -> tuple[int, str]:
    """Run a command in a pod as `tandem exec` does; exit status and output."""
    text = (config.pod_dir("default", pod) / "pod.json").read_text()
    argv = exec_argv(json.loads(text), command)
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=dict(os.environ),
    )
    async with asyncio.timeout(20):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


def statuses(config: MeshConfig) -> dict[str, Any]:
    """What the fake control plane was told: statuses by pod, nodes in sync."""
    connection = HTTPConnection("control")
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.settimeout(5)
    connection.sock.connect(str(config.control_socket))
    connection.request("GET", "/statuses")
    body: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return body


def status(config: MeshConfig, pod: str) -> dict[str, Any]:
    found: dict[str, Any] = statuses(config)["statuses"][f"default/{pod}"]
    return found


def enrolled(config: MeshConfig, node: str = "node1") -> dict[str, Any]:
    """The pods that a fake daemon has, by uid."""
    path = config.zds_socket(node).with_name("enrolled.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def pid_of(mesh: Mesh, pod: str) -> int:
    found = mesh.fleet.slots["default", pod].pod
    assert found is not None
    pid = found.containers[0].pid
    assert pid is not None
    return pid


def get(url: str) -> tuple[str, ...]:
    """A command that prints the body of an answer."""
    code = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).read())"
    return ("python3", "-c", code, url)
