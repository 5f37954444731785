"""What a plug-in costs a request: `python -m tests.bench.plugins`.

One waypoint process on loopback, HTTP/1.1, a server and a client with processes of their
own. Of each case: CPU microseconds per request of the waypoint's process and of the
plug-in's, and the median latency of one request after the other.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import statistics
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import uvloop
from google.protobuf.message import Message

from tests.waypoint.filters.plugin.mesh import chain, plugin
from tests.waypoint.mesh import running, service
from tests.waypoint.wire import request

ROUNDS = 5
SECONDS = 1.0
CLIENTS = 16
TICKS = os.sysconf("SC_CLK_TCK")
BODY = 1024

REQUEST = "def on_request(self, request):\n  request.headers['x-tenant'] = 'blue'"
BOTH = REQUEST + "\ndef on_response(self, request, response):\n  response.headers['x-a'] = 'b'"
BODIES = "bodies = ['response']\ndef on_body(self, request, data, last, direction): pass"
CASES: Mapping[str, Mapping[str, Message]] = {
    "no plug-in": {},
    "on_request": {"one": plugin(REQUEST)},
    "on_request, on_response": {"one": plugin(BOTH)},
    "on_body of the response": {"one": plugin(BODIES)},
    "two plug-ins' on_request": {"one": plugin(REQUEST), "two": plugin(REQUEST)},
}


class Measured(NamedTuple):
    """One round: microseconds per request, and requests per second."""

    waypoint: float
    plugins: float
    latency: float
    rate: float


class Server(asyncio.Protocol):
    """Answers every request with 1 KiB."""

    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % BODY + b"x" * BODY

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.answer * data.count(b"\r\n\r\n"))  # type: ignore[attr-defined]


def serve(told: Connection) -> None:
    """The server's process."""

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    uvloop.run(main())


def mesh(told: Connection, port: int, name: str) -> None:
    """The waypoint's process; tells its port, and then its plug-ins' processes."""
    logging.basicConfig()

    async def main() -> None:
        async with running() as made:
            made.push(service("web", chain(**CASES[name])))
            made.pod("web-1", "web", port)
            made.ask("web")
            told.send(made.port)
            loop = asyncio.get_running_loop()
            while await loop.run_in_executor(None, told.recv):
                plugins = made.worker.plugins.plugins.values()
                hosts = [v.host.process for p in plugins for v in p.versions.values()]
                told.send([process.pid for process in hosts if process is not None])

    uvloop.run(main())


def cpu(pids: list[int]) -> float:
    """CPU seconds of processes."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


async def client(port: int, end: float, latencies: list[float]) -> int:
    """One request after the other until then; how many."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    raw = request("/", "accept: */*", "user-agent: bench")
    count = 0
    while time.perf_counter() < end:
        began = time.perf_counter()
        writer.write(raw)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        if b"chunked" in head.lower():
            await reader.readuntil(b"\r\n0\r\n\r\n")
        else:
            await reader.readexactly(BODY)
        latencies.append(time.perf_counter() - began)
        count += 1
    writer.close()
    return count


async def load(port: int, clients: int, seconds: float) -> tuple[int, float]:
    """So many clients at a time: requests, and the median latency in microseconds."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds
    counts = await asyncio.gather(*(client(port, end, latencies) for _ in range(clients)))
    return sum(counts), statistics.median(latencies) * 1e6


def measure(name: str, port: int) -> Measured:
    """One round of a case."""
    ours, its = multiprocessing.Pipe()
    process = multiprocessing.Process(target=mesh, args=(its, port, name), daemon=True)
    process.start()
    try:
        waypoint = ours.recv()
        uvloop.run(load(waypoint, 1, 0.3))
        ours.send(True)
        hosts = ours.recv()
        assert process.pid is not None
        before = cpu([process.pid]), cpu(hosts)
        count, _ = uvloop.run(load(waypoint, CLIENTS, SECONDS))
        spent = cpu([process.pid]) - before[0], cpu(hosts) - before[1]
        _, latency = uvloop.run(load(waypoint, 1, SECONDS))
        return Measured(
            spent[0] * 1e6 / count, spent[1] * 1e6 / count, latency, count / SECONDS
        )
    finally:
        ours.send(False)
        process.join(10)


def main() -> None:
    """Every case, rounds in turn, medians."""
    ours, its = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(its,), daemon=True)
    server.start()
    port = ours.recv()
    rounds: dict[str, list[Measured]] = {name: [] for name in CASES}
    for _ in range(ROUNDS):
        for name in CASES:
            rounds[name].append(measure(name, port))
    server.terminate()
    server.join()
    print(f"{'':26} {'waypoint µs':>12} {'plug-in µs':>12} {'latency µs':>12} {'req/s':>8}")
    for name, found in rounds.items():
        medians = [statistics.median(column) for column in zip(*found, strict=True)]
        print(f"{name:26} " + " ".join(f"{value:12.1f}" for value in medians))


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main()
