"""What the process costs: idle, and with crowds of connections and streams held."""

from __future__ import annotations

import asyncio
import contextlib
import re
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bpf.netns import in_netns
from proto import workload_pb2 as pb
from tests.support.netns import Netns, netns
from tests.waypoint.test_app import ENVIRONMENT, Process, control_plane, gate, process, push
from tests.ztunnel_compat import ads_server
from waypoint.server import IDENTITY_PORT
from ztunnel_compat.h2.codes import Role
from ztunnel_compat.h2.connection import Connection
from ztunnel_compat.h2.settings import Settings
from ztunnel_compat.identity import Identity
from ztunnel_compat.proxy_protocol import ProxyHeader, encode_proxy
from ztunnel_compat.xds import ADDRESS_TYPE

MIB = 1024 * 1024
VIP = bytes([10, 96, 0, 7])
CONNECTIONS = 5000
STREAMS = 10_000
#: Streams of one connection, of each side.
EACH = 1000
HEADER = encode_proxy(
    ProxyHeader(
        bytes([10, 0, 0, 9]), 4711, VIP, 80, Identity("cluster.local", "apps", "client")
    )
)


@pytest.fixture
def place() -> Iterator[Netns]:
    with netns("127.0.0.1", "::1") as made:
        yield made


def used(waypoint: Process) -> int:
    """The process's own memory in bytes, with its part of what it shares."""
    text = Path(f"/proc/{waypoint.child.pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def mesh(port: int, protocol: pb.AppProtocol.ValueType) -> list[Any]:
    """A client, and a service with an endpoint on loopback behind the waypoint."""
    host = "web.apps.svc.cluster.local"
    key = f"apps/{host}"
    gateway = pb.GatewayAddress(
        hostname=pb.NamespacedHostname(namespace="apps", hostname="gate.apps.svc.cluster.local")
    )
    service = pb.Service(name="web", namespace="apps", hostname=host, waypoint=gateway)
    service.addresses.add(address=VIP)
    service.ports.add(service_port=80, target_port=port, app_protocol=protocol)
    workload = pb.Workload(uid="web", name="web", namespace="apps", addresses=[b"\x7f\0\0\1"])
    workload.services[key].ports.add(service_port=80, target_port=port, app_protocol=protocol)
    client = pb.Workload(
        uid="c", name="c", namespace="apps", service_account="client",
        addresses=[bytes([10, 0, 0, 9])],
    )  # fmt: skip
    return [
        gate(),
        ads_server.resource(key, "1", ADDRESS_TYPE, pb.Address(service=service)),
        ads_server.resource("web", "1", ADDRESS_TYPE, pb.Address(workload=workload)),
        ads_server.resource("c", "1", ADDRESS_TYPE, pb.Address(workload=client)),
    ]


@asynccontextmanager
async def running(
    place: Netns, port: int, protocol: pb.AppProtocol.ValueType = pb.HTTP11
) -> AsyncIterator[Process]:
    """A waypoint in a ztunnel's place, that serves one service."""
    environment = ENVIRONMENT | {"L4_MODE": "sandwich"}
    async with control_plane(place) as ads:
        with process(place, environment) as waypoint:
            await push(ads, *mesh(port, protocol))
            await waypoint.until_ready(200)
            yield waypoint


async def test_an_idle_process_is_small(place: Netns) -> None:
    async with running(place, 9) as waypoint:
        memory = used(waypoint)
        print(f"idle: {memory / MIB:.1f} MiB")
        assert memory < 80 * MIB


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(place: Netns, serve: Serve) -> AsyncIterator[int]:
    """An endpoint's port; all its connections are closed at the end."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    with in_netns(place.fd):
        made = socket.create_server(("127.0.0.1", 0), backlog=4096)
    made.setblocking(False)
    server = await asyncio.start_server(connected, sock=made, backlog=4096)
    async with server:
        yield made.getsockname()[1]
        await asyncio.gather(*tasks)


async def dial(place: Netns) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client's connection, which has said by its header who it is."""
    made = place.open_socket()
    made.setblocking(False)
    await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", IDENTITY_PORT))
    reader, writer = await asyncio.open_connection(sock=made)
    writer.write(HEADER)
    return reader, writer


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many files as the system lets us have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.soak
@pytest.mark.usefixtures("many_files")
async def test_many_connections_with_a_request_each(place: Netns) -> None:
    """All of them at once: clients, endpoints, and the requests between them."""
    waiting: list[asyncio.StreamWriter] = []
    arrived = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                waiting.append(writer)
                if len(waiting) == CONNECTIONS:
                    arrived.set()

    async with serving(place, serve) as port, running(place, port) as waypoint:
        before = used(waypoint)
        peers = [await dial(place) for _ in range(CONNECTIONS)]
        for _, writer in peers:
            writer.write(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n")
        async with asyncio.timeout(60):
            await arrived.wait()
        held = used(waypoint) - before
        told = f"{held / MIB:.1f} MiB, {held // CONNECTIONS} B each"
        print(f"{CONNECTIONS} connections: {told}")
        for writer in waiting:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
        for reader, _ in peers:
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert await reader.readexactly(5) == b"hello"
        for _, writer in peers:
            writer.close()
            await writer.wait_closed()
        assert held < 100 * MIB


class Held:
    """One end of an HTTP/2 connection, which leaves its streams open."""

    def __init__(self, role: Role, writer: asyncio.StreamWriter) -> None:
        settings = Settings(max_streams=EACH, stream_window=65535)
        self.http = Connection(role, self, settings)
        self.writer = writer
        self.open: list[Any] = []
        self.ended = 0
        self.http.start()

    def write(self) -> None:
        while pieces := self.http.take_output():
            self.writer.writelines(pieces)

    async def read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.http.receive(data)
                self.write()

    def on_request(self, stream: Any, headers: Any, end: bool) -> None:
        self.open.append(stream)

    def on_response(self, stream: Any, headers: Any, end: bool) -> None:
        assert headers[0] == (b":status", b"200")

    def on_data(self, stream: Any, data: Any, end: bool) -> None:
        self.http.consumed(stream, len(data))
        self.ended += end

    def on_trailers(self, stream: Any, headers: Any) -> None:
        raise AssertionError("nobody sends any")

    def on_reset(self, stream: Any, code: int) -> None: ...
    def on_writable(self, stream: Any) -> None: ...
    def on_goaway(self, last_stream: int, code: int) -> None: ...
    def on_pong(self, payload: bytes) -> None: ...
    def on_closed(self, error: Any) -> None: ...


REQUEST = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/"),
    (b":authority", b"web"),
]


@pytest.mark.soak
async def test_many_streams(place: Netns) -> None:
    """All of them open in both directions, with content on its way."""
    servers: list[Held] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made = Held(Role.SERVER, writer)
        servers.append(made)
        made.write()
        await made.read(reader)

    async def opened() -> None:
        while sum(len(each.open) for each in servers) < STREAMS:
            await asyncio.sleep(0.05)

    async def ended(clients: list[Held]) -> None:
        while sum(each.ended for each in clients) < STREAMS:
            await asyncio.sleep(0.05)

    async with (
        serving(place, serve) as port,
        running(place, port, pb.HTTP2) as waypoint,
        asyncio.TaskGroup() as group,
    ):
        before = used(waypoint)
        clients: list[Held] = []
        for _ in range(STREAMS // EACH):
            reader, writer = await dial(place)
            made = Held(Role.CLIENT, writer)
            clients.append(made)
            made.write()
            group.create_task(made.read(reader))
        async with asyncio.timeout(60):
            for made in clients:
                while not made.http.greeted:
                    await asyncio.sleep(0.01)
                for _ in range(EACH):
                    stream = made.http.request(REQUEST)
                    made.http.send_data(stream, b"x" * 1000)
                made.write()
            await opened()
        held = used(waypoint) - before
        print(f"{STREAMS} streams: {held / MIB:.1f} MiB, {held // STREAMS} B each")
        for each in servers:
            for stream in each.open:
                each.http.respond(stream, [(b":status", b"200")])
                each.http.send_data(stream, b"y" * 1000, end=True)
            each.write()
        async with asyncio.timeout(60):
            await ended(clients)
        for made in clients:
            made.writer.close()
        assert held < 400 * MIB
