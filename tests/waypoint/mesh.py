"""A waypoint in this process, on a real loop and real sockets, without a kernel part.

The mesh has the caller ``client`` in namespace ``apps`` and services that tests
add; the peer query is answered here instead of by the kernel.
"""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from tests.support.waiting import until
from waypoint.clusters import Clusters
from waypoint.decode import TYPE_URL
from waypoint.filters.decode import TYPE_URL as FILTERS_URL
from waypoint.filters.jwt.keeper import Keeper
from waypoint.filters.kinds import KINDS
from waypoint.filters.local_limit.shared import Buckets, make_buckets
from waypoint.filters.registry import Kinds
from waypoint.log_writer import LogWriter
from waypoint.server import IdentityServer
from waypoint.slicer import Slicer
from waypoint.stats import Stats
from waypoint.targets import Targets
from waypoint.worker import Limits, Worker
from ztunnel_compat.model import (
    AppProtocol,
    Extension,
    GatewayAddress,
    NamespacedHostname,
    Service,
    ServicePort,
    Workload,
    WorkloadStatus,
)
from ztunnel_compat.names import name_hash, pod_uid, target_hash
from ztunnel_compat.peer import FLOW_SERVICE, FLOW_WAYPOINT
from ztunnel_compat.runtime.tasks import Tasks
from ztunnel_compat.state import WorkloadState

NAMESPACE = "apps"
CLIENT = pod_uid("Kubernetes", NAMESPACE, "client")
ME = GatewayAddress(NamespacedHostname(NAMESPACE, "gate.apps.svc.cluster.local"))
HTTP_PORT = 80
TCP_PORT = 90


def kernel_answer(source: int, target: int, address: str, port: int, flags: int) -> bytes:
    """What the kernel answers to the peer query."""
    packed = ipaddress.ip_address(address)
    if packed.version == 4:
        packed = ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + packed.packed)
    return struct.pack(
        "=QQ16s2sHI32x", source, target, packed.packed, port.to_bytes(2, "big"), flags, 0
    )


def hostname(name: str) -> str:
    return f"{name}.{NAMESPACE}.svc.cluster.local"


def service(
    name: str,
    *extensions: Extension,
    mine: bool = True,
    speaks: AppProtocol = AppProtocol.HTTP11,
) -> Service:
    """A service with an HTTP port and a TCP port, behind this waypoint.

    speaks: what is said of the first of them.
    """
    return Service(
        name=name,
        namespace=NAMESPACE,
        hostname=hostname(name),
        ports=(
            ServicePort(HTTP_PORT, 0, speaks),
            ServicePort(TCP_PORT, 0, AppProtocol.TCP),
        ),
        waypoint=ME if mine else None,
        extensions=extensions,
    )


def routes(name: str, *hosts: dict[str, object], **more: object) -> Extension:
    """A RouteConfiguration for a service's HTTP port, from its JSON."""
    title = f"inbound-vip|{HTTP_PORT}|http|{hostname(name)}"
    message = route_pb2.RouteConfiguration()
    json_format.ParseDict({"name": title, "virtualHosts": hosts, **more}, message)
    return Extension(title, TYPE_URL, message.SerializeToString())


def filters(name: str, *configured: Message, port: int = HTTP_PORT) -> Extension:
    """A service's filters, in order, each named after its type."""
    title = f"inbound-vip|{port}|filters|{hostname(name)}"
    manager = HttpConnectionManager()
    for message in configured:
        entry = manager.http_filters.add(name=message.DESCRIPTOR.full_name)
        entry.typed_config.Pack(message)
    return Extension(title, FILTERS_URL, manager.SerializeToString())


def override(name: str, message: Message) -> dict[str, Any]:
    """A route's own settings for a filter, by its name."""
    wrapped = AnyMessage()
    wrapped.Pack(message)
    return {"typed_per_filter_config": {name: json_format.MessageToDict(wrapped)}}


def host(*entries: dict[str, object], domains: tuple[str, ...] = ("*",)) -> dict[str, object]:
    """A virtual host's JSON."""
    return {"name": "h", "domains": list(domains), "routes": list(entries)}


def to(name: str, **more: object) -> dict[str, object]:
    """A route action's JSON: everything to one service."""
    return {"cluster": f"outbound|{HTTP_PORT}||{hostname(name)}", "timeout": "0s", **more}


@dataclass
class Mesh:
    """The waypoint under test and what it is made of."""

    state: WorkloadState
    worker: Worker
    server: IdentityServer
    log: list[str]
    port: int = 0
    #: What the next connections were made by and for.
    source: int = name_hash(CLIENT)
    asked: tuple[str, int, int] = ("", 0, FLOW_WAYPOINT | FLOW_SERVICE)
    proven: bool = True
    informed: bool = True
    pods: dict[str, Workload] = field(default_factory=dict)

    def push(self, *resources: Service | Workload, removed: tuple[str, ...] = ()) -> None:
        """What the control plane's push does."""
        self.worker.targets.apply(self.state.apply(resources, removed))
        self.worker.pushed()
        self.server.retry()

    def pod(
        self,
        name: str,
        of: str,
        port: int,
        *,
        address: str = "127.0.0.1",
        status: WorkloadStatus = WorkloadStatus.HEALTHY,
        capacity: int = 1,
    ) -> Workload:
        """Push a workload that serves both ports of a service at one target port."""
        key = f"{NAMESPACE}/{hostname(of)}"
        ports = (ServicePort(HTTP_PORT, port), ServicePort(TCP_PORT, port))
        workload = Workload(
            uid=pod_uid("Kubernetes", NAMESPACE, name),
            name=name,
            namespace=NAMESPACE,
            addresses=(ipaddress.ip_address(address).packed,),
            services={key: ports},
            status=status,
            capacity=capacity,
        )
        self.push(workload)
        return workload

    def ask(self, name: str, port: int = HTTP_PORT) -> None:
        """The connections from here on are for this service."""
        self.asked = (f"{NAMESPACE}/{hostname(name)}", port, FLOW_WAYPOINT | FLOW_SERVICE)

    def answer(self) -> bytes | None:
        """What the kernel would answer for the connection that just came."""
        name, port, flags = self.asked
        if not self.proven:
            return None
        target = target_hash(name_hash(name), port)
        return kernel_answer(self.source, target, "10.96.0.7", port, flags)

    async def lines(self, count: int) -> list[str]:
        """The access log, once it has so many lines."""
        await until(lambda: len("".join(self.log).splitlines()) >= count)
        return "".join(self.log).splitlines()


@asynccontextmanager
async def running(
    limits: Limits | None = None, kinds: Kinds = KINDS, buckets: Buckets | None = None
) -> AsyncIterator[Mesh]:
    """A waypoint that listens on a free port, with the caller known to it.

    kinds: the filters that there are; buckets: what it shares with others.
    """
    loop = asyncio.get_running_loop()
    state = WorkloadState()
    log: list[str] = []

    def write(data: bytes) -> int:
        log.append(data.decode("latin-1"))
        return len(data)

    stats = Stats()
    async with Tasks() as tasks:
        targets = Targets(
            state=state,
            clusters=Clusters(state, later=Slicer(loop).add),
            namespace=NAMESPACE,
            gateway="gate",
            now=loop.time,
            kinds=kinds,
        )
        worker = Worker(
            loop=loop,
            tasks=tasks,
            targets=targets,
            log=LogWriter(write, stats, loop),
            stats=stats,
            limits=limits or Limits(),
            buckets=buckets or make_buckets(),
        )
        worker.jwks = Keeper(worker)
        server = IdentityServer(
            worker,
            peer_of=lambda _connection: mesh.answer(),
            source_of=state.workload_by_hash,
            workload_at=partial(state.workload_at, ""),
            informed=lambda: mesh.informed,
        )
        mesh = Mesh(state, worker, server, log)
        gate = replace(service("gate", mine=False), ports=())
        mesh.push(gate, Workload(uid=CLIENT, name="client", namespace=NAMESPACE))
        mesh.port = await mesh.server.listen(0)
        ticking = tasks.spawn(tick(worker), "tick")
        try:
            yield mesh
        finally:
            ticking.cancel()
            await mesh.server.drain(0)
            await until(lambda: not worker.connections)
            assert tasks.failure is None


async def tick(worker: Worker) -> None:
    """The wheel turns, faster than in the real process."""
    while True:
        await asyncio.sleep(0.05)
        worker.tick()
