"""A node's DNS with one pod in a netns of its own, and a cluster DNS beside it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass

import dns.message

from daemon.dns.answers import Answers
from daemon.dns.resolver import Resolver
from daemon.dns.server import DnsServer, Limits
from daemon.dns.sockets import PORT
from daemon.dns.upstream import Upstream
from tests.daemon.dns.cluster_dns import ClusterDns, serving
from tests.daemon.dns.meshes import DOMAIN, mesh
from tests.support.netns import Netns, netns
from ztunnel_compat.model import Service, Workload
from ztunnel_compat.runtime.tasks import Tasks
from ztunnel_compat.state import WorkloadState

CLIENT = "Kubernetes//Pod/app/client"
COOKIE = 71


@dataclass
class World:
    pod: Netns
    server: DnsServer
    cluster: ClusterDns
    state: WorkloadState
    ready: asyncio.Event

    def apply(self, *updated: Service | Workload, removed: tuple[str, ...] = ()) -> None:
        self.server.on_change(self.state.apply(updated, removed))

    def open(self) -> None:
        self.server.open(COOKIE, self.pod.fd, CLIENT, "app")

    def udp(self, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
        """A client's socket, connected to us; for use with the loop."""
        made = self.pod.open_socket(family, socket.SOCK_DGRAM)
        made.setblocking(False)
        made.connect(("::1" if family == socket.AF_INET6 else "127.0.0.1", PORT))
        return made

    async def tcp(
        self, family: socket.AddressFamily = socket.AF_INET
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client's connection to us."""
        made = self.pod.open_socket(family)
        made.connect(("::1" if family == socket.AF_INET6 else "127.0.0.1", PORT))
        made.setblocking(False)
        return await asyncio.open_connection(sock=made)

    async def ask(self, wire: bytes, **options: socket.AddressFamily) -> dns.message.Message:
        """One question by UDP."""
        with self.udp(**options) as client:
            return await over_udp(client, wire)


async def over_udp(client: socket.socket, wire: bytes) -> dns.message.Message:
    client.send(wire)
    return await received(client)


async def received(client: socket.socket) -> dns.message.Message:
    async with asyncio.timeout(20):
        return dns.message.from_wire(await asyncio.get_running_loop().sock_recv(client, 65535))


async def over_tcp(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire: bytes
) -> dns.message.Message:
    writer.write(len(wire).to_bytes(2, "big") + wire)
    return await read_tcp(reader)


async def read_tcp(reader: asyncio.StreamReader) -> dns.message.Message:
    async with asyncio.timeout(20):
        size = int.from_bytes(await reader.readexactly(2), "big")
        return dns.message.from_wire(await reader.readexactly(size))


@contextlib.asynccontextmanager
async def running(
    *,
    limits: Limits | None = None,
    ready: bool = True,
    seconds: float = 3.0,
    pod: Netns | None = None,
) -> AsyncIterator[World]:
    """With a pod that is served; ready: the mesh is known, and programmed."""
    async with serving() as (cluster, port), Tasks() as tasks:
        state = WorkloadState()
        event = asyncio.Event()
        server = DnsServer(
            state=state,
            network="",
            resolver=Resolver(Answers(state, DOMAIN)),
            upstream=Upstream(["127.0.0.1"], seconds=seconds, port=port),
            tasks=tasks,
            ready=event,
            limits=limits,
        )
        tasks.spawn(server.run(), "DNS")
        with contextlib.nullcontext(pod) if pod else netns() as inside:
            made = World(inside, server, cluster, state, event)
            if ready:
                made.apply(*mesh())
                event.set()
                await asyncio.sleep(0)  # run() takes note
            made.open()
            try:
                yield made
            finally:
                if cluster.held:
                    cluster.held.set()
                await server.drain()


async def returns(work: Awaitable[object]) -> None:
    """Wait for something that must end."""
    async with asyncio.timeout(20):
        await work
