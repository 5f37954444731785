"""A node agent as a process, with everything it talks to: in namespaces of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bpf.netns import in_netns
from proto import workload_pb2
from tests.bpf.engine import place
from tests.daemon.meshes import hostname, ip, key_of, uid_of
from tests.support.netns import Netns
from tests.ztunnel_compat.ads_server import resource, settings, workload
from ztunnel_compat.drivers.zds_server import ZdsServer
from ztunnel_compat.xds import ADDRESS_TYPE

ROOT = Path(__file__).resolve().parents[2]
XDS_PORT = 15012

#: Answers every line with itself.
ECHO = """
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("listening", flush=True)
while True:
    accepted, _ = listener.accept()
    import threading
    def serve(sock):
        while data := sock.recv(1024):
            sock.sendall(data)
    threading.Thread(target=serve, args=(accepted,), daemon=True).start()
"""

#: Takes commands: "connect HOST PORT" opens a connection, anything else goes over it.
CLIENT = """
import socket, sys
sock = None
for line in sys.stdin:
    try:
        if line.startswith("connect "):
            _, host, port = line.split()
            sock = socket.create_connection((host, int(port)), 5)
            print("connected to", *sock.getpeername()[:2], flush=True)
        else:
            sock.sendall(line.encode())
            print(sock.recv(1024).decode().strip(), flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


@contextlib.asynccontextmanager
async def enrolling(daemon: Daemon) -> AsyncIterator[ZdsServer]:
    """Serve enrolment to a node agent."""
    server = ZdsServer(daemon.zds_path)
    serving_pods = asyncio.ensure_future(server.run())
    try:
        yield server
    finally:
        serving_pods.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving_pods


async def until(condition: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    """Ask until the answer is true; it may be awaitable."""
    async with asyncio.timeout(seconds) as limit:
        while True:
            answer = condition()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return answer
            assert (limit.when() or 0) > asyncio.get_running_loop().time(), what
            await asyncio.sleep(0.02)


def in_cgroup(cgroup: Path, *command: str) -> list[str]:
    return ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(cgroup), *command]


@dataclass(frozen=True)
class NodePlaces:
    """Where a node's programs are pinned and attached."""

    pin_dir: Path
    cgroup: Path

    def pods_cgroup(self) -> Path:
        path = self.cgroup / "pods"
        path.mkdir(exist_ok=True)
        return path


@contextlib.contextmanager
def node_places() -> Iterator[NodePlaces]:
    """Fresh ones, gone at the end; nothing loaded yet."""
    with place("daemon") as made:
        yield NodePlaces(made.pin_dir, made.cgroup)


class PodProgram:
    """A Python program in a pod's netns and cgroup, spoken to by lines."""

    def __init__(self, netns: Netns, cgroup: Path, code: str, *arguments: str) -> None:
        self.process = netns.popen(in_cgroup(cgroup, sys.executable, "-c", code, *arguments))

    def ask(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.line()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@dataclass
class Daemon:
    """How to start the node agent on a node; log: all it has said.

    source: the tree that it is started from.
    """

    places: NodePlaces
    node: Netns
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None
    starts: int = 0
    source: Path = ROOT

    @property
    def zds_path(self) -> Path:
        return self.folder / "ztunnel.sock"

    @property
    def log(self) -> str:
        return (self.folder / f"daemon{self.starts}.log").read_text()

    async def start(self) -> None:
        self.starts += 1
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(self.source),
            "NODE_NAME": "n1",
            "INSTANCE_IP": "10.99.0.100",
            "POD_NAME": "agent-n1",
            "POD_NAMESPACE": "tandem-system",
            **settings(XDS_PORT),
            "ZDS_PATH": str(self.zds_path),
            "PIN_DIR": str(self.places.pin_dir),
            "CGROUP_ROOT": str(self.places.cgroup),
            # Nobody follows while it ends, and nothing has to go on.
            "TERMINATION_GRACE_PERIOD_SECONDS": "5",
        } | self.environment
        with (self.folder / f"daemon{self.starts}.log").open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                "nsenter",
                f"--net={self.node.path}",
                sys.executable,
                "-m",
                "daemon",
                env=environment,
                cwd=self.source,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 20)

    async def get(self, url: str) -> tuple[int, Any]:
        """Ask the node agent over HTTP, inside its netns; status 0: no answer."""
        with in_netns(self.node.fd):
            async with aiohttp.ClientSession() as session:
                try:
                    async with session.get(f"http://127.0.0.1:{url}") as response:
                        if response.content_type == "application/json":
                            return response.status, await response.json()
                        return response.status, await response.text()
                except aiohttp.ClientConnectionError as error:
                    return 0, str(error)

    async def ready(self) -> bool:
        assert self.process is not None
        assert self.process.returncode is None, self.log
        return (await self.get("15021/healthz/ready"))[0] == 200

    async def dump(self) -> Any:
        return (await self.get("15000/config_dump"))[1]


@contextlib.asynccontextmanager
async def in_node(node: Netns) -> AsyncIterator[None]:
    """Sockets that are made meanwhile are the node's."""
    with in_netns(node.fd):
        yield


def web(vip: str, waypoint: str = "") -> Any:
    """A service resource: port 80 leads to 8080."""
    message = workload_pb2.Service(
        name="web",
        namespace="app",
        hostname=hostname("web"),
        addresses=[workload_pb2.NetworkAddress(address=ip(vip))],
        ports=[workload_pb2.Port(service_port=80, target_port=8080)],
    )
    if waypoint:
        message.waypoint.hostname.namespace = "app"
        message.waypoint.hostname.hostname = hostname(waypoint)
        message.waypoint.hbone_mtls_port = 15008
    content = workload_pb2.Address(service=message)
    return resource(key_of("web"), f"w{waypoint}", ADDRESS_TYPE, content)


def pod(name: str, address: str, *services: str) -> Any:
    """A workload resource."""
    return workload(
        uid_of(name),
        name=name,
        namespace="app",
        addresses=[ip(address)],
        services={key_of(s): workload_pb2.PortList() for s in services},
    )
