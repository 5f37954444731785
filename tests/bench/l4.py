"""The L4 engine on one node, beside no mesh at all.

No mesh: client and server in network namespaces of the same node, outside its
cgroup, so that not one hook runs, by the server's own address. The mesh: enrolled
client, a service's VIP, enrolled server; direct, without a waypoint.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.measure import Entry, Sample, busy_seconds, compare, in_turn, wrk
from tests.e2e.manifests import documents, idle, namespace, service
from tests.support.mesh import MeshHandle

ROUNDS = 9
CONNECTS = 5000

CONNECT_LOOP = """
import socket, struct, sys, time
reset = struct.pack("ii", 1, 0)  # no TIME_WAIT: ports would run out
address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def one():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    started = time.perf_counter_ns()
    s.connect((address, port))
    taken = time.perf_counter_ns() - started
    s.close()
    return taken
for _ in range(200): one()
samples = sorted(one() for _ in range(count))
print(samples[len(samples) // 2])
"""


def manifests() -> dict[str, str]:
    """The mesh's files."""
    return {
        "bench.yaml": documents(
            namespace("bench", dataplane_mode="ambient"),
            namespace("plain"),
            idle("client", "bench"),
            idle("server", "bench"),
            service("web", 80, 8080, namespace="bench", selector="app: server"),
            idle("client", "plain"),
            idle("server", "plain"),
        )
    }


def outside(netns: str) -> Callable[[Sequence[str]], list[str]]:
    """Run in a pod's network namespace but not in its cgroup: no hook sees it."""
    return lambda command: ["nsenter", f"--net={netns}", *command]


def on_core(number: int) -> list[str]:
    """Pin what follows: the client to one core, the server to another."""
    return ["taskset", "--cpu-list", str(number % (os.cpu_count() or 1))]


def redirected(mesh: MeshHandle) -> int:
    """Connects that the kernel sent to a service's endpoint so far."""
    return int(mesh.dump("node")["counters"]["CONNECT_SERVICE"])


@contextmanager
def nginx(
    scratch: Path, name: str, inside: Callable[[Sequence[str]], list[str]]
) -> Iterator[None]:
    """An nginx of one worker that answers 2 bytes, for as long as the block runs."""
    config = scratch / f"{name}.conf"
    config.write_text(
        f"daemon off; master_process off; pid {scratch}/{name}.pid;\n"
        f"error_log {scratch}/{name}.log;\n"
        "events { worker_connections 1024; }\n"
        "http { access_log off; keepalive_requests 1000000000;\n"
        "  server { listen 8080 backlog=1024;\n"
        '  location / { return 200 "ok"; } } }\n'
    )
    server = [*on_core(1), "/usr/sbin/nginx", "-c", str(config)]
    with subprocess.Popen(inside(server)) as process:
        try:
            yield
        finally:
            process.terminate()


def run(mesh: MeshHandle, scratch: Path) -> list[Entry]:
    """Every case of the L4 engine."""
    client, server = mesh.pod("client", "bench"), mesh.pod("server", "bench")
    plain_client, plain_server = mesh.pod("client", "plain"), mesh.pod("server", "plain")
    plain_address = next(ip for ip in plain_server["ips"] if ":" not in ip)
    vip = mesh.run("client", "getent", "ahostsv4", "web", namespace="bench").stdout.split()[0]

    def without(command: Sequence[str]) -> list[str]:
        return outside(plain_client["netns"])([*on_core(0), *command])

    def within(command: Sequence[str]) -> list[str]:
        return mesh.argv(client, [*on_core(0), *command])

    entries = []
    with (
        nginx(scratch, "mesh", lambda command: mesh.argv(server, command)),
        nginx(scratch, "plain", outside(plain_server["netns"])),
    ):
        cases = {
            "l4.crr": ("connections/s", ["-c8", "-H", "connection: close"]),
            "l4.keepalive16": ("requests/s", ["-c16"]),
        }
        for name, (unit, options) in cases.items():
            print(f"bench: {name}", flush=True)
            samples = in_turn(
                ROUNDS,
                {
                    "no mesh": lambda o=options: wrk(
                        without, f"http://{plain_address}:8080/", *o
                    ),
                    "l4": lambda o=options: wrk(within, f"http://{vip}/", *o),
                },
            )
            entries.append(compare(name, unit, samples, "l4", "no mesh"))
        print("bench: l4.connect", flush=True)
        before = redirected(mesh)
        samples = in_turn(
            ROUNDS,
            {
                "no mesh": lambda: connects(without, plain_address, 8080),
                "l4": lambda: connects(within, vip, 80),
            },
        )
        assert redirected(mesh) >= before + ROUNDS * CONNECTS, "the hooks weren't in the path"
        entries.append(compare("l4.connect", "connects/s", samples, "l4", "no mesh"))
    return entries


def connects(inside: Callable[[Sequence[str]], list[str]], address: str, port: int) -> Sample:
    """The median time of a blocking connect(), as a rate."""
    argv = inside(["/usr/bin/python3", "-c", CONNECT_LOOP, address, str(port), str(CONNECTS)])
    busy = busy_seconds()
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    busy = busy_seconds() - busy
    return Sample(1e9 / int(done.stdout), busy * 1e6 / CONNECTS)
