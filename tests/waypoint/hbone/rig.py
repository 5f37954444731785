"""A waypoint with 15008 of its own, on loopback: everything real but the CA."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

from tests.daemon.tunnel.caller import Caller
from tests.daemon.tunnel.pki import Contexts, client_context, who
from tests.waypoint.mesh import Mesh, running, service
from waypoint.hbone.dial import Dialer
from waypoint.hbone.server import HboneServer
from waypoint.worker import Limits
from ztunnel_compat.hbone import Baggage
from ztunnel_compat.identity import Identity
from ztunnel_compat.model import NetworkAddress, Service, Workload
from ztunnel_compat.session.settings import POOLED, Timing

VIP = "10.96.0.7"
GATE = who("gate", "apps")
CLIENT = who("client", "apps")


def web(name: str = "web", vip: bytes = bytes([10, 96, 0, 7])) -> Service:
    """A service of this waypoint's with a virtual address."""
    return replace(service(name), addresses=(NetworkAddress("", vip),))


@dataclass
class Gate:
    """A waypoint with both ends of HBONE. to: what its tunnels lead to, besides."""

    mesh: Mesh
    server: HboneServer
    dialer: Dialer
    port: int = 0

    def push(self, *resources: Service | Workload, removed: tuple[str, ...] = ()) -> None:
        """What the control plane's push does."""
        self.mesh.push(*resources, removed=removed)
        self.server.retry()

    @asynccontextmanager
    async def call(
        self, identity: Identity = CLIENT, context: ssl.SSLContext | None = None
    ) -> AsyncIterator[Caller]:
        """A client's HBONE connection."""
        _, caller = await asyncio.get_running_loop().create_connection(
            Caller,
            "127.0.0.1",
            self.port,
            ssl=context or client_context(identity),
            server_hostname="",
        )
        try:
            yield caller
        finally:
            caller.transport.abort()
            await caller.closed.wait()


@asynccontextmanager
async def gate(
    limits: Limits | None = None,
    *,
    far_port: int = 1,
    timing: Timing = POOLED,
    identity: Identity = GATE,
) -> AsyncIterator[Gate]:
    """A waypoint that listens on a free port; far_port: 15008 of its upstreams."""
    async with running(limits) as mesh:
        worker = mesh.worker
        workload_at = partial(mesh.state.workload_at, "")
        credentials = Contexts()
        dialer = Dialer(
            identity=identity,
            credentials=credentials,
            workload_at=workload_at,
            tasks=worker.tasks,
            timing=timing,
            port=far_port,
        )
        worker.connect = dialer.connect
        server = HboneServer(
            worker,
            identity=identity,
            credentials=credentials,
            trust_domains={"cluster.local"},
            workload_at=workload_at,
            informed=lambda: mesh.informed,
            baggage=lambda: Baggage(namespace="apps", workload_name="gate"),
        )
        made = Gate(mesh, server, dialer, server.listen(0))
        try:
            yield made
        finally:
            await server.stop_accepting()
            await mesh.server.drain(0)
            await server.close(0)
            dialer.pool.close("the test is over")
