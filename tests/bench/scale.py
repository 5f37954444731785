"""A large mesh on one node: 100,000 endpoints in 10,000 services.

The node agent is the real process, its control plane this one; what a connect
costs is measured between two engines, with the large mesh in one and one service
of ten endpoints in the other. Where an entry has an aim in place of a contender,
its ratio is aim over value: 1 and more is good.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import statistics
import struct
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bpf.knobs import Knobs
from bpf.layout import AddressKey
from bpf.loader import load
from bpf.maps import Maps
from bpf.netns import in_netns
from bpf.tables import PinnedTable
from daemon.desired import Desired
from daemon.locality import Vantage
from daemon.program import Programmer, dump
from daemon.reconcile import reconcile
from daemon.scope import Scope
from tests.bench.measure import Entry, Sample, busy_seconds, compare, in_turn
from tests.bpf.engine import Place, place
from tests.daemon import crowd
from tests.daemon.process import XDS_PORT, Daemon, in_node, node_places, until
from tests.support.netns import Netns, netns, pair
from tests.ztunnel_compat.ads_server import Stream, serving
from ztunnel_compat.decode import decode_address
from ztunnel_compat.state import WorkloadState
from ztunnel_compat.xds import AUTHORIZATION_TYPE

SERVICES, EACH = 10_000, 10
ROUNDS, CONNECTS = 9, 4000
#: What is wanted: CPU seconds, megabytes, milliseconds, cores.
PROGRAM_SECONDS, AGENT_MB, KERNEL_MB, EFFECT_MS, CHURN_CORES = 10.0, 512.0, 256.0, 10.0, 0.5
CHANGES_A_SECOND, CHURN_SECONDS = 1000, 10
TABLES = ("addresses", "ranges", "ports", "endpoints")


def run() -> list[Entry]:
    """Every case."""
    print("bench: l4.scale.program, .agent, .kernel, .effect, .churn", flush=True)
    entries = asyncio.run(agent())
    print("bench: l4.scale, .spread", flush=True)
    return [*entries, *connects()]


def aimed(name: str, value: float, unit: str, aim: float) -> Entry:
    """An entry beside what is wanted."""
    return Entry(name, round(value, 2), unit, f"aim {aim:g}", round(aim / value, 3), 0.0)


async def agent() -> list[Entry]:
    """What the node agent takes for a large mesh, and for changes of it."""
    async with contextlib.AsyncExitStack() as stack:
        places = stack.enter_context(node_places())
        home = stack.enter_context(netns())
        daemon = Daemon(places, home, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        async with in_node(home):
            ads = await stack.enter_async_context(serving(XDS_PORT))
        await daemon.start()
        stack.push_async_callback(daemon.stop, signal.SIGKILL)
        stream = await ads.stream()
        await stream.begin()
        assert daemon.process is not None
        pid = daemon.process.pid
        await until((places.pin_dir / "meta").exists, "the programs are loaded")
        before = crowd.cpu_seconds(pid)
        stream.push("n1", *crowd.mesh(SERVICES, EACH))
        stream.answer(AUTHORIZATION_TYPE, "n2")
        await until(daemon.ready, "ready after the first push", 120)
        taken = crowd.cpu_seconds(pid) - before
        maps = Maps.open(places.pin_dir)
        stack.callback(maps.close)
        entries = [
            aimed("l4.scale.program", taken, "s of CPU", PROGRAM_SECONDS),
            aimed("l4.scale.agent", crowd.resident_mb(pid), "MB", AGENT_MB),
            aimed("l4.scale.kernel", kernel_mb(maps), "MB", KERNEL_MB),
        ]
        effect = statistics.median([await one_change(stream, maps, n) for n in range(200)])
        entries.append(aimed("l4.scale.effect", 1000 * effect, "ms", EFFECT_MS))
        before = crowd.cpu_seconds(pid)
        await churn(stream, CHURN_SECONDS)
        await one_change(stream, maps, 200)
        used = (crowd.cpu_seconds(pid) - before) / CHURN_SECONDS
        entries.append(aimed("l4.scale.churn", used, "cores", CHURN_CORES))
        return entries


def kernel_mb(maps: Maps) -> float:
    """What the kernel counts for the maps that grow with the mesh."""
    total = 0
    for name in TABLES:
        table = getattr(maps, name)
        assert isinstance(table, PinnedTable)
        lines = Path(f"/proc/self/fdinfo/{table.fd}").read_text().splitlines()
        total += int(next(line for line in lines if line.startswith("memlock")).split()[1])
    return total / (1 << 20)


async def one_change(stream: Stream, maps: Maps, number: int) -> float:
    """Seconds from a push of one new endpoint to its address in the kernel."""
    endpoint = SERVICES * EACH + number
    key = AddressKey.FORMAT.pack(bytes(10) + b"\xff\xff" + crowd.endpoint_address(endpoint), 0)
    where = AddressKey.unpack(key)
    pushed = crowd.endpoint(endpoint, number)
    drained(stream)
    started = time.perf_counter()
    stream.push(f"e{number}", pushed)
    while maps.addresses.get(where) is None:
        await asyncio.sleep(0)
        assert time.perf_counter() < started + 10, "a change without effect"
    return time.perf_counter() - started


async def churn(stream: Stream, seconds: float) -> None:
    """Endpoints that fall ill and recover, some in each push."""
    started, done = time.monotonic(), 0
    ill: set[int] = set()
    while (elapsed := time.monotonic() - started) < seconds:
        due = int(elapsed * CHANGES_A_SECOND) - done
        numbers = [(done + n) * 7919 % (SERVICES * EACH) for n in range(due)]
        ill.symmetric_difference_update(numbers)
        changed = [crowd.endpoint(n, n // EACH, healthy=n not in ill) for n in numbers]
        if changed:
            stream.push(f"c{done}", *changed)
        done += due
        drained(stream)
        await asyncio.sleep(0.02)


def drained(stream: Stream) -> None:
    """Read what the node agent acknowledged."""
    while not stream.requests.empty():
        request = stream.requests.get_nowait()
        assert not request.error_detail.message, request.error_detail.message


def connects() -> list[Entry]:
    """What connect() costs with the large mesh, against one service of ten endpoints.

    Once with the same traffic in both. Once to all services in turn: that includes
    what TCP itself pays for a hundred thousand peers (5 % without any mesh), and
    that none of what a connect looks at is in the CPU's cache.
    """
    with contextlib.ExitStack() as stack:
        client, server = stack.enter_context(pair())
        server.run(["ip", "route", "add", "local", "10.240.0.0/12", "dev", "lo"])
        client.run(["ip", "route", "add", "10.240.0.0/12", "via", server.v4])
        for one in (client, server):
            # What TCP remembers of each of a hundred thousand peers isn't ours.
            one.sysctl("net/ipv4/tcp_no_metrics_save", "1")
        listener = stack.enter_context(server.listen("0.0.0.0", 8080, backlog=4096))
        large = stack.enter_context(engine("large", client, SERVICES))
        small = stack.enter_context(engine("small", client, 1))
        samples = in_turn(
            ROUNDS,
            {
                "large": lambda: rate(large, client, listener, 1),
                "spread": lambda: rate(large, client, listener, SERVICES),
                "small": lambda: rate(small, client, listener, 1),
            },
        )
    return [
        compare("l4.scale", "connects/s", samples, "large", "small"),
        compare("l4.scale.spread", "connects/s", samples, "spread", "small"),
    ]


@contextlib.contextmanager
def engine(name: str, client: Netns, services: int) -> Iterator[Place]:
    """An engine that knows a mesh, and has the client enrolled."""
    state = WorkloadState()
    state.apply([decoded(r) for r in crowd.mesh(services, EACH)], ())
    desired = Desired(state, Vantage(node="n1"), {})
    scope = Scope()
    desired.enroll(client.cookie, "Kubernetes//Pod/bench/client", scope)
    for workload in state.workloads():
        desired.workload_changed(workload.uid, scope)
    for service in state.services():
        desired.service_changed(service.key, scope)
    desired.settle(scope)
    with place(name) as where:
        load(where.pin_dir, where.cgroup, Knobs())
        maps = Maps.open(where.pin_dir)
        try:
            programmer = Programmer(maps, dump(maps))
            asyncio.run(
                programmer.apply_in_slices(
                    reconcile(programmer.programmed, desired.content, scope)
                )
            )
            assert not programmer.full
            yield where
        finally:
            maps.close()


def decoded(resource: Any) -> Any:
    """A resource's value."""
    return decode_address(resource.name, resource.resource.value)


def rate(where: Place, client: Netns, listener: socket.socket, services: int) -> Sample:
    """The median time of a connect() to one service after the other, as a rate."""
    vips = [socket.inet_ntoa(crowd.vip(n * 7919 % services)) for n in range(CONNECTS)]
    with where.joined(), in_netns(client.fd):
        one_by_one(vips[:200], listener)
        busy = busy_seconds()
        samples = one_by_one(vips, listener)
        busy = busy_seconds() - busy
    return Sample(1e9 / statistics.median(samples), busy * 1e6 / CONNECTS)


def one_by_one(vips: Sequence[str], listener: socket.socket) -> list[int]:
    """Nanoseconds of each connect()."""
    reset = struct.pack("ii", 1, 0)  # no TIME_WAIT: ports would run out
    samples = []
    for vip in vips:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            started = time.perf_counter_ns()
            sock.connect((vip, 80))
            samples.append(time.perf_counter_ns() - started)
            accepted, _ = listener.accept()
            accepted.close()
    return samples
