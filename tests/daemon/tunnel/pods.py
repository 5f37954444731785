"""A pod of this node and another node's client, in namespaces of their own.

Everything is real but the kernel programs, which would tell the application who
connects: what they are told is noted.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from bpf.layout import EventClass, Mark
from daemon.policies.identities import Account
from daemon.telemetry.ledger import Ledger
from daemon.telemetry.tunnels import Tunnels
from daemon.tunnel.authorize import Authorizer
from daemon.tunnel.bounds import Limits
from daemon.tunnel.dial import Dialer
from daemon.tunnel.listeners import Listeners
from daemon.tunnel.outbound import Outbound
from daemon.tunnel.pool import TunnelPool
from daemon.tunnel.routes import Routes
from daemon.tunnel.server import TunnelServer
from daemon.tunnel.sockets import Marks, PodSockets
from tests.daemon.meshes import ip, state_of, uid_of, workload
from tests.daemon.tunnel.caller import Caller, calling
from tests.daemon.tunnel.pki import client_context, server_context, who
from tests.support.netns import Netns, pair
from ztunnel_compat.errors import CertificateError
from ztunnel_compat.identity import Identity
from ztunnel_compat.model import Service, TunnelProtocol, Workload
from ztunnel_compat.policy import Policy
from ztunnel_compat.policy_state import PolicyState
from ztunnel_compat.runtime.tasks import Tasks
from ztunnel_compat.state import WorkloadState

CLIENT, SERVER = uid_of("client"), uid_of("server")
PORT = 8080
WHO = who("client")


class Lines:
    """The access log."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, kind: EventClass, level: str, line: str) -> None:
        self.lines.append(line)


class Credentials:
    """Stands for the CA: a certificate for whoever is held, or a reason why not."""

    def __init__(self) -> None:
        self.held: list[Identity] = []
        self.refuses = ""
        self.made: dict[tuple[bool, Identity], ssl.SSLContext] = {}

    def hold(self, identity: Identity) -> None:
        self.held.append(identity)

    def drop(self, identity: Identity) -> None:
        self.held.remove(identity)

    async def client_context(self, identity: Identity) -> ssl.SSLContext:
        return self.context(False, identity)

    async def server_context(self, identity: Identity) -> ssl.SSLContext:
        return self.context(True, identity)

    def context(self, server: bool, identity: Identity) -> ssl.SSLContext:
        if self.refuses or identity not in self.held:
            raise CertificateError(self.refuses or f"{identity} isn't held")
        make = server_context if server else client_context
        if (server, identity) not in self.made:
            self.made[server, identity] = make(identity)
        return self.made[server, identity]


class NotedMarks:
    """What the kernel would be told, in order."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []

    def set(self, descriptor: int, mark: Mark) -> None:
        self.marks.append(mark)


@dataclass(eq=False)
class App:
    """A server in the pod; taken: the connections that it accepted."""

    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    taken: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken.append(writer)
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            await self.handler(reader, writer)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


class Node:
    """The node of one pod, and everything of the daemon's that tunnels need."""

    def __init__(
        self,
        client: Netns,
        pod: Netns,
        *,
        limits: Limits | None = None,
        inherited: dict[int, Listeners] | None = None,
        tellers: int = 1,
        marks: Marks | None = None,
    ) -> None:
        self.client = client
        self.pod = pod
        self.mesh = mesh_of(client, pod)
        self.policies = PolicyState()
        self.synced = asyncio.Event()
        self.synced.set()
        self.credentials = Credentials()
        self.marks = NotedMarks()
        self.log = Lines()
        self.ledger = Ledger(lambda _: (None, None))
        self.tasks = Tasks()
        self.sockets = PodSockets(marks or self.marks)
        #: Whose ports are in a namespace that several share.
        self.ports: dict[int, int] = {}
        self.authorizer = Authorizer(self.mesh, self.policies, self.synced)
        telemetry = Tunnels(self.ledger, self.log)
        dialer = Dialer(
            self.sockets,
            self.credentials,
            lambda cookie: self.server.netns_of(cookie),  # noqa: PLW0108  made below
        )
        self.server = TunnelServer(
            mesh=self.mesh,
            network="",
            credentials=self.credentials,
            authorizer=self.authorizer,
            sockets=self.sockets,
            outbound=Outbound(
                routes=Routes(self.mesh, lambda _: None),
                pool=TunnelPool(dialer.connect, self.tasks),
                tunnels=telemetry,
                tasks=self.tasks,
            ),
            telemetry=telemetry,
            tasks=self.tasks,
            inherited=inherited,
            tellers=tellers,
            owner_of=self.ports.get,
            limits=limits,
        )
        self.tasks.spawn(self.authorizer.run(), "enforcement")
        self.listening: list[asyncio.Server] = []

    @property
    def authority(self) -> str:
        return f"{self.pod.v4}:{PORT}"

    def open(self) -> None:
        self.server.open(self.pod.cookie, self.pod.fd, SERVER, Account("app", "server"))

    def push(
        self, *resources: Workload | Service | Policy, removed: tuple[str, ...] = ()
    ) -> None:
        """What the control plane's push does."""
        others = [r for r in resources if not isinstance(r, Policy)]
        changes = self.mesh.apply(others, [r for r in removed if self.mesh.workload(r)])
        keys, _ = self.policies.apply(
            [r for r in resources if isinstance(r, Policy)], list(removed)
        )
        self.server.on_change(replace(changes, policies=keys))

    async def listen(
        self, handler: Any = echo, port: int = PORT, address: str | None = None
    ) -> App:
        """Serve in the pod, until the end of the test."""
        app = App(handler)
        listener = self.pod.listen(address or self.pod.v4, port)
        listener.setblocking(False)
        self.listening.append(await asyncio.start_server(app.serve, sock=listener))
        return app

    def call(
        self,
        *,
        identity: Identity = WHO,
        context: ssl.SSLContext | None = None,
        address: str = "",
        server_name: str = "",
    ) -> contextlib.AbstractAsyncContextManager[Caller]:
        """Connect from the other node."""
        return calling(
            self.client,
            address or self.pod.v4,
            context or client_context(identity),
            server_name,
        )

    async def close(self) -> None:
        for listener in self.listening:
            listener.close()
        for cookie in list(self.server.places):
            self.server.close(cookie)
        await self.tasks.close()
        self.sockets.close()
        assert self.tasks.failure is None
        assert self.server.tunnels == 0
        assert self.server.connections == 0
        assert self.server.handshakes == 0
        assert not self.authorizer.admitted


def mesh_of(client: Netns, pod: Netns) -> WorkloadState:
    """The pod and its client as the control plane tells of them."""
    return state_of(
        replace(
            workload("client", client.v4),
            addresses=(ip(client.v4), ip(client.v6)),
            service_account="client",
        ),
        replace(
            workload("server", pod.v4),
            addresses=(ip(pod.v4), ip(pod.v6)),
            service_account="server",
            tunnel_protocol=TunnelProtocol.HBONE,
        ),
    )


@contextlib.asynccontextmanager
async def serving(**more: Any) -> AsyncIterator[Node]:
    """A pod that is served."""
    with pair() as (client, pod):
        node = Node(client, pod, **more)
        try:
            node.open()
            yield node
        finally:
            await node.close()


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
