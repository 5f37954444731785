"""The L4 engine on one node, beside no mesh at all.

No mesh: client and server in network namespaces of the same node, outside its
cgroup, so that not one hook runs, by the server's own address. The mesh: enrolled
client, a service's VIP, enrolled server; direct, without a waypoint.

The two differ by a few microseconds a connection, and by nothing at all in what an
open one carries, where no hook runs; whatever else the machine does for a second moves
one of them by more. So rounds are short, for such a second to spoil one and not three,
and many, for the median to be of the others: where 1 % is to be told, rounds differ by
5 % here, and the median of 75 is good for 0.7 %. On a machine that is never idle even so,
l4.crr.cpu tells: what a connection takes of the processor, where one process on one
core is client, server and all between them. Waiting for others doesn't count there.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.bench.measure import Entry, Sample, busy_seconds, compare, in_turn, wrk
from tests.e2e.manifests import allow, documents, idle, namespace, service
from tests.support.mesh import MeshHandle

ROUNDS = 25
#: Where 1 % is to be told.
MANY_ROUNDS = 75
SECONDS = 1
CONNECTS = 2000

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

CPU_LOOP = """
import ctypes, os, socket, sys, time
netns, own, own_port, address, port, count = sys.argv[1:]
def enter(path):
    with open(path) as namespace:
        assert ctypes.CDLL(None).setns(namespace.fileno(), 0) == 0
home = os.open("/proc/self/ns/net", os.O_RDONLY)
enter(netns)
listener = socket.create_server((own, int(own_port)))
enter(f"/proc/self/fd/{home}")
def one():
    with socket.socket() as client:
        client.connect((address, int(port)))
        server, _ = listener.accept()
        client.send(b"GET")
        server.recv(8)
        server.send(b"ok")
        server.close()
        client.recv(8)
        client.recv(8)
for _ in range(200): one()
started = time.process_time_ns()
for _ in range(int(count)): one()
print((time.process_time_ns() - started) // int(count))
"""


def manifests() -> dict[str, str]:
    """The mesh's files."""
    fast = {"tandem.io/accelerate": "true"}
    return {
        "bench.yaml": documents(
            namespace("bench", dataplane_mode="ambient"),
            namespace("plain"),
            idle("client", "bench"),
            idle("server", "bench"),
            service("web", 80, 8080, namespace="bench", selector="app: server"),
            idle("guarded", "bench"),
            service("guarded", 80, 8080, namespace="bench"),
            allow("thousand", "bench", thousand_rules(), app="guarded"),
            idle("fast-client", "bench", annotations=fast),
            idle("fast-server", "bench", annotations=fast),
            service("fast", 80, 8080, namespace="bench", selector="app: fast-server"),
            idle("client", "plain"),
            idle("server", "plain"),
        )
    }


def thousand_rules() -> str:
    """1,000 rules of differing callers, ranges and ports; the last one lets ours in."""
    others = [
        f"- from:\n  - source:\n      principals: [cluster.local/ns/other{n}/sa/caller]\n"
        f'  - source:\n      ipBlocks: ["192.0.2.{n % 256}/32"]\n'
        f'  to:\n  - operation:\n      ports: ["{10000 + n}"]\n'
        for n in range(999)
    ]
    ours = "- from:\n  - source:\n      principals: [cluster.local/ns/bench/sa/default]\n"
    return "".join([*others, ours])


def outside(netns: str) -> Callable[[Sequence[str]], list[str]]:
    """Run in a pod's network namespace but not in its cgroup: no hook sees it."""
    return lambda command: ["nsenter", f"--net={netns}", *command]


def reuse_ports(*pods: dict[str, Any]) -> None:
    """Have pods outside the mesh use ports again at once, as enrolled ones do.

    Else they run out, and what is measured is the search for one.
    """
    set_it = "echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse"
    for pod in pods:
        subprocess.run(outside(pod["netns"])(["sh", "-c", set_it]), check=True)


def ipv4(pod: dict[str, Any]) -> str:
    """A pod's IPv4 address."""
    found: str = next(ip for ip in pod["ips"] if ":" not in ip)
    return found


def on_core(number: int) -> list[str]:
    """Pin what follows: the client to one core, the server to another."""
    return ["taskset", "--cpu-list", str(number % (os.cpu_count() or 1))]


def counted(mesh: MeshHandle, counter: str) -> int:
    """What the kernel has counted so far."""
    return int(mesh.dump("node")["counters"][counter])


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


@dataclass(frozen=True, slots=True)
class Case:
    """wrk with these options, from one place to another, beside a second pair.

    proof: the node's counter that has to grow, lest something else be measured.
    """

    name: str
    unit: str
    options: tuple[str, ...]
    ours: Contender
    against: Contender
    proof: str = "CONNECT_SERVICE"
    rounds: int = ROUNDS


@dataclass(frozen=True, slots=True)
class Contender:
    """Where a client runs, and what it asks."""

    name: str
    inside: Callable[[Sequence[str]], list[str]]
    url: str

    def sample(self, options: Sequence[str]) -> Sample:
        """One round."""
        return wrk(self.inside, self.url, *options, seconds=SECONDS)


def run(mesh: MeshHandle, scratch: Path) -> list[Entry]:
    """Every case of the L4 engine."""
    plain_client, plain_server = mesh.pod("client", "plain"), mesh.pod("server", "plain")
    reuse_ports(plain_client, plain_server)
    plain_address = ipv4(plain_server)

    def without(command: Sequence[str]) -> list[str]:
        return outside(plain_client["netns"])([*on_core(0), *command])

    def within(client: str) -> Callable[[Sequence[str]], list[str]]:
        pod = mesh.pod(client, "bench")
        return lambda command: mesh.argv(pod, [*on_core(0), *command])

    def vip(service: str) -> str:
        found = mesh.run("client", "getent", "ahostsv4", service, namespace="bench").stdout
        return found.split()[0]

    def called(client: str, service: str) -> Contender:
        return Contender("l4", within(client), f"http://{vip(service)}/")

    plain = Contender("no mesh", without, f"http://{plain_address}:8080/")
    ours, guarded = called("client", "web"), called("client", "guarded")
    crr = ("-H", "connection: close")
    cases = [
        Case("l4.crr", "connections/s", ("-c1", *crr), ours, plain, rounds=MANY_ROUNDS),
        Case("l4.crr8", "connections/s", ("-c8", *crr), ours, plain, rounds=MANY_ROUNDS),
        Case("l4.keepalive16", "requests/s", ("-c16",), ours, plain, rounds=MANY_ROUNDS),
        Case(
            "l4.keepalive16.accelerated",
            "requests/s",
            ("-c16",),
            called("fast-client", "fast"),
            plain,
            "ACCELERATED",
        ),
        Case(
            "l4.policy1000",
            "connections/s",
            ("-c8", *crr),
            guarded,
            replace(ours, name="no policy"),
        ),
    ]
    server, web = mesh.pod("server", "bench"), vip("web")
    entries = [
        looped(
            mesh,
            "l4.crr.cpu",
            "connections/s of CPU",
            {
                "no mesh": lambda: whole(without, plain_server, plain_address, 8080),
                "l4": lambda: whole(within("client"), server, web, 80),
            },
        )
    ]
    with ExitStack() as servers:
        for name in ("server", "guarded", "fast-server"):
            pod = mesh.pod(name, "bench")
            servers.enter_context(nginx(scratch, name, lambda c, p=pod: mesh.argv(p, c)))
        servers.enter_context(nginx(scratch, "plain", outside(plain_server["netns"])))
        entries += [measure(mesh, case) for case in cases]
        entries.append(
            looped(
                mesh,
                "l4.connect",
                "connections/s",
                {
                    "no mesh": lambda: connects(without, plain_address, 8080),
                    "l4": lambda: connects(within("client"), web, 80),
                },
            )
        )
    return entries


def measure(mesh: MeshHandle, case: Case) -> Entry:
    """One case's rounds."""
    print(f"bench: {case.name}", flush=True)
    before = counted(mesh, case.proof)
    samples = in_turn(
        case.rounds,
        {
            contender.name: lambda c=contender: c.sample(case.options)
            for contender in (case.against, case.ours)
        },
    )
    assert counted(mesh, case.proof) > before, f"{case.proof} didn't grow"
    return compare(case.name, case.unit, samples, case.ours.name, case.against.name)


def looped(
    mesh: MeshHandle, name: str, unit: str, sides: dict[str, Callable[[], Sample]]
) -> Entry:
    """A case whose every sample is a program of CONNECTS connections."""
    print(f"bench: {name}", flush=True)
    before = counted(mesh, "CONNECT_SERVICE")
    samples = in_turn(ROUNDS, sides)
    calls = counted(mesh, "CONNECT_SERVICE") - before
    assert calls >= ROUNDS * CONNECTS, "the hooks weren't in the path"
    return compare(name, unit, samples, "l4", "no mesh")


def whole(
    inside: Callable[[Sequence[str]], list[str]],
    server: dict[str, Any],
    address: str,
    port: int,
) -> Sample:
    """What whole connections take of a processor, as a rate; nobody listens at the server."""
    places = [server["netns"], ipv4(server), "8080", address, str(port), str(CONNECTS)]
    argv = inside(["/usr/bin/python3", "-c", CPU_LOOP, *places])
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return Sample(1e9 / int(done.stdout), int(done.stdout) / 1000)


def connects(inside: Callable[[Sequence[str]], list[str]], address: str, port: int) -> Sample:
    """The median time of a blocking connect(), as a rate."""
    argv = inside(["/usr/bin/python3", "-c", CONNECT_LOOP, address, str(port), str(CONNECTS)])
    busy = busy_seconds()
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    busy = busy_seconds() - busy
    return Sample(1e9 / int(done.stdout), busy * 1e6 / CONNECTS)
