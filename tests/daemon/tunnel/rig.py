"""A pod's end of tunnels on loopback: everything is real but the kernel's answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import replace

from bpf.addresses import mapped
from bpf.layout import EventClass
from bpf.layout import Peer as KernelPeer
from bpf.marks import MemoryMarks
from daemon.telemetry.ledger import Account, Ledger
from daemon.telemetry.tunnels import Tunnels
from daemon.tunnel.dial import Dialer
from daemon.tunnel.outbound import Limits, Outbound
from daemon.tunnel.pool import TunnelPool
from daemon.tunnel.routes import Routes, SourcePod
from daemon.tunnel.sockets import Acceptor, PodSockets
from tests.daemon.meshes import ip, service, state_of, uid_of, workload
from tests.daemon.tunnel.pki import Contexts, who
from ztunnel_compat.model import Service, TunnelProtocol
from ztunnel_compat.names import name_hash, target_hash
from ztunnel_compat.peer import FLOW_SERVICE, FLOW_TUNNEL
from ztunnel_compat.runtime.tasks import Tasks
from ztunnel_compat.session.settings import POOLED, Timing
from ztunnel_compat.state import WorkloadState

COOKIE = 77
CLIENT, SERVER = uid_of("client"), uid_of("server")
WEB = service("web", "10.96.0.1")
WEB_TARGET = target_hash(name_hash(WEB.key), 80)
PEER = KernelPeer(
    source=name_hash(CLIENT),
    target=WEB_TARGET,
    original=mapped(ip("10.96.0.1")),
    original_port=80,
    flags=FLOW_TUNNEL | FLOW_SERVICE,
    destination=name_hash(SERVER),
    far=mapped(ip("127.0.0.1")),
    far_port=8080,
)


LIMITS = Limits()


def mesh() -> WorkloadState:
    return state_of(
        WEB,
        replace(workload("client", "127.0.0.9"), service_account="client"),
        replace(
            workload("server", "127.0.0.1", of=("web",)),
            service_account="server",
            tunnel_protocol=TunnelProtocol.HBONE,
        ),
    )


class Lines:
    """The access log."""

    def __init__(self) -> None:
        self.lines: list[tuple[EventClass, str, str]] = []

    def add(self, kind: EventClass, level: str, line: str) -> None:
        self.lines.append((kind, level, line))


class Near:
    """One pod of this node, and the daemon's tunnel code for it."""

    def __init__(self, port: int, limits: Limits, timing: Timing) -> None:
        self.peer: KernelPeer | None = PEER
        self.state = mesh()
        self.service: Service | None = WEB
        self.lines = Lines()
        self.ledger = Ledger(lambda _: (None, None))
        self.tunnels = Tunnels(self.ledger, self.lines)
        self.contexts = Contexts()
        self.marks = MemoryMarks()
        self.netns = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.sockets = PodSockets(self.marks)
        self.tasks = Tasks()
        self.dialer = Dialer(
            self.sockets,
            self.contexts,
            {COOKIE: self.netns}.get,
            timing=timing,
        )
        self.pool = TunnelPool(self.dialer.connect, self.tasks)
        self.outbound = Outbound(
            routes=Routes(self.state, {WEB_TARGET: WEB}.get, port),
            pool=self.pool,
            tunnels=self.tunnels,
            tasks=self.tasks,
            query=lambda _: None if self.peer is None else self.peer.pack(),
            limits=limits,
        )
        self.pod = SourcePod(COOKIE, CLIENT, who("client"))
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.listener.setblocking(False)
        self.acceptor = Acceptor(
            self.sockets.poller,
            self.listener,
            lambda c: self.outbound.take({self.pod.workload: self.pod}, c),
        )
        self.applications: list[socket.socket] = []

    async def connect(self, receive_buffer: int = 0) -> App:
        made = socket.socket()
        made.setblocking(False)
        if receive_buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.applications.append(made)
        await asyncio.get_running_loop().sock_connect(made, self.listener.getsockname())
        return App(made)

    @property
    def account(self) -> Account:
        """What was counted; under one set of labels."""
        self.tunnels.collect()
        (account,) = self.ledger.accounts.values()
        return account

    async def close(self) -> None:
        self.acceptor.close()
        self.listener.close()
        self.pool.close("the test is over")
        for application in self.applications:
            application.close()
        await self.tasks.close()
        self.outbound.leave(self.pod)
        self.sockets.close()
        os.close(self.netns)


class App:
    """The application's end, with nothing between it and the socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.socket, data)

    async def receive(self, size: int = 65536) -> bytes:
        """Bytes, b"" for FIN; raises ConnectionResetError for RST."""
        return await self.loop.sock_recv(self.socket, size)

    async def receive_exactly(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            data = await self.receive(size - len(found))
            assert data, f"an end after {len(found)} bytes of {size}"
            found += data
        return bytes(found)

    async def receive_all(self) -> bytes:
        found = bytearray()
        while data := await self.receive():
            found += data
        return bytes(found)

    def end(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


@contextlib.asynccontextmanager
async def near_side(
    port: int, *, limits: Limits = LIMITS, timing: Timing = POOLED
) -> AsyncIterator[Near]:
    near = Near(port, limits, timing)
    try:
        yield near
    finally:
        await near.close()


async def until(condition: object, seconds: float = 10.0) -> None:
    """Wait until a callable says so."""
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
