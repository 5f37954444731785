"""The gRPC service: one DeltaSession per stream."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc

from deploy.standalone.control.ads.gate import Gate
from deploy.standalone.control.ads.node import WAYPOINT, Node
from deploy.standalone.control.ads.session import DeltaSession
from deploy.standalone.control.derive import View
from deploy.standalone.control.engine import Engine
from deploy.standalone.control.errors import ConfigError, NodeIdError
from deploy.standalone.control.translate.resources import (
    ADDRESS_TYPE,
    AUTHORIZATION_TYPE,
    Content,
    changed,
)
from ztunnel_compat.runtime.tasks import Tasks

logger = logging.getLogger(__name__)

MAX_STREAMS = 4096
MAX_MESSAGE = 200 << 20
OPTIONS = (
    # Clients ping every few seconds; by default the server ends their stream for it.
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    # Two control planes on one port would each serve some of the clients.
    ("grpc.so_reuseport", 0),
)


class Client:
    """A stream and what wakes it."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.session = DeltaSession()
        self.wake = asyncio.Event()


class AdsService(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]
    """Serves the engine's views. clients: the streams that are open."""

    def __init__(self, engine: Engine, gate: Gate) -> None:
        self.engine = engine
        self.gate = gate
        self.clients: set[Client] = set()
        engine.listeners.append(self.view_changed)

    def view_changed(self, before: View, after: View) -> None:
        """Tell each stream which resources to look at."""
        plain = changed(before.contents.ztunnel, after.contents.ztunnel)
        routed = changed(before.contents.waypoint, after.contents.waypoint)
        for client in self.clients:
            names = routed if client.node.role == WAYPOINT else plain
            if names:
                client.session.changed(ADDRESS_TYPE, names)
                client.wake.set()

    def contents_for(self, node: Node) -> dict[str, Content]:
        """What a client may see, by type."""
        contents = self.engine.view.contents
        addresses = contents.waypoint if node.role == WAYPOINT else contents.ztunnel
        return {ADDRESS_TYPE: addresses, AUTHORIZATION_TYPE: {}}

    async def DeltaAggregatedResources(  # noqa: N802 - the name that gRPC looks for
        self, request_iterator: Any, context: Any
    ) -> None:
        """Serve one stream until its client ends it."""
        request = await context.read()
        if request is grpc.aio.EOF:
            return
        try:
            node = Node.parse(request.node.id)
        except NodeIdError as error:
            logger.error("a client at %s was refused: %s", context.peer(), error)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        client = Client(node)
        self.clients.add(client)
        logger.info("%s connected from %s", node.id, context.peer())
        try:
            self.take(client, request)
            async with Tasks() as tasks:
                tasks.spawn(self.send(client, context), f"ADS to {node.id}")
                await tasks.wait(self.receive(client, context))
        finally:
            self.clients.discard(client)
            logger.info("%s disconnected", node.id)

    async def receive(self, client: Client, context: Any) -> None:
        """Take requests until there are no more."""
        while (request := await context.read()) is not grpc.aio.EOF:
            self.take(client, request)

    def take(self, client: Client, request: Any) -> None:
        """Take one request."""
        for note in client.session.receive(request):
            logger.error("%s %s", client.node.id, note)
        client.wake.set()

    async def send(self, client: Client, context: Any) -> None:
        """Send what is due, for ever."""
        await self.gate.opened.wait()
        while True:
            await client.wake.wait()
            client.wake.clear()
            for response in client.session.responses(self.contents_for(client.node)):
                response.control_plane.identifier = "tandem"
                await context.write(response)

    def status(self) -> list[dict[str, Any]]:
        """Every client with its subscriptions, JSON-able."""
        clients = sorted(self.clients, key=lambda client: client.node.id)
        return [{"node": c.node.id, "types": c.session.status()} for c in clients]


async def serve(service: AdsService, listen: str) -> tuple[Any, int]:
    """Start serving at ``address:port``; the server, and the port that it got.

    Raises ConfigError when the address can't be had.
    """
    server = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=MAX_STREAMS)
    ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(service, server)
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise ConfigError(
            f"--listen {listen}: can't be listened on; is another control plane running?"
        ) from error
    await server.start()
    return server, port
