"""The gRPC service: one DeltaSession per stream."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc
from google.protobuf.json_format import MessageToDict

from deploy.standalone.control.ads.gate import Gate
from deploy.standalone.control.ads.node import WAYPOINT, Node
from deploy.standalone.control.ads.order import Order
from deploy.standalone.control.ads.session import DeltaSession
from deploy.standalone.control.auth.guard import Guard
from deploy.standalone.control.auth.nodeid import check_node
from deploy.standalone.control.engine import Engine
from deploy.standalone.control.errors import CallerError
from deploy.standalone.control.pods import PodName
from deploy.standalone.control.translate.resources import (
    ADDRESS_TYPE,
    AUTHORIZATION_TYPE,
    Content,
    changed,
)
from deploy.standalone.control.view import View
from ztunnel_compat.runtime.tasks import Tasks
from ztunnel_compat.xds import MEMBERS_TYPE

logger = logging.getLogger(__name__)

#: Seconds between looks at what waypoints take too long for.
LOOK_AGAIN = 1.0


class Client:
    """A stream and what wakes it. agent: the node that it is the agent of, or empty."""

    def __init__(self, node: Node, agent: str) -> None:
        self.node = node
        self.agent = agent
        self.session = DeltaSession()
        self.wake = asyncio.Event()


class AdsService(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]
    """Serves the engine's views. clients: the streams that are open."""

    def __init__(self, engine: Engine, gate: Gate, guard: Guard) -> None:
        self.engine = engine
        self.gate = gate
        self.guard = guard
        self.clients: set[Client] = set()
        self.order = Order(time.monotonic)
        self.looking: asyncio.TimerHandle | None = None
        engine.listeners.append(self.view_changed)

    def view_changed(self, before: View, after: View) -> None:
        """Tell each stream which resources to look at."""
        plain = changed(before.contents.ztunnel, after.contents.ztunnel)
        routed = changed(before.contents.waypoint, after.contents.waypoint)
        policies = changed(before.contents.policies, after.contents.policies)
        for client in self.clients:
            names = routed if client.node.role == WAYPOINT else plain
            client.session.changed(ADDRESS_TYPE, names)
            client.session.changed(AUTHORIZATION_TYPE, policies)
            if names or policies:
                client.wake.set()
        # Before, clients have other things to wait for.
        if self.gate.opened.is_set():
            self.hold(plain)

    def open(self) -> None:
        """Let answers through: nodes hear of what waypoints have not heard again later."""
        self.hold(self.engine.view.contents.ztunnel)
        self.gate.open()

    def hold(self, names: Iterable[str]) -> None:
        """Keep from nodes what their waypoints have to take first."""
        self.order.hold(names, self.engine.view, self.waypoint_streams())
        self.review()

    def review(self) -> None:
        """Tell nodes of what waypoints have taken; look again while something is left."""
        if not self.order.held:
            return
        if self.order.review(self.engine.view, self.waypoint_streams()):
            for client in self.clients:
                client.wake.set()
        if self.looking is not None:
            self.looking.cancel()
        self.looking = asyncio.get_running_loop().call_later(LOOK_AGAIN, self.review)

    def waypoint_streams(self) -> dict[PodName, list[DeltaSession]]:
        """The streams of each pod that is a waypoint."""
        found = defaultdict(list)
        for client in self.clients:
            if client.node.role == WAYPOINT:
                found[client.node.namespace, client.node.pod].append(client.session)
        return found

    def contents_for(self, node: Node) -> dict[str, Content]:
        """What a client may see, by type."""
        contents = self.engine.view.contents
        addresses = contents.waypoint if node.role == WAYPOINT else contents.ztunnel
        return {ADDRESS_TYPE: addresses, AUTHORIZATION_TYPE: contents.policies}

    async def DeltaAggregatedResources(  # noqa: N802 - the name that gRPC looks for
        self, request_iterator: Any, context: Any
    ) -> None:
        """Serve one stream until its client ends it."""
        caller = await self.guard.admit(context)
        request = await context.read()
        if request is grpc.aio.EOF:
            return
        try:
            node = Node.parse(request.node.id)
            check_node(node, MessageToDict(request.node.metadata), caller.claims)
        except CallerError as error:
            await self.guard.refuse(context, error)
        client = Client(node, caller.claims.node if caller.is_agent else "")
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
        if request.type_url == MEMBERS_TYPE and client.agent:
            self.engine.set_members(client.agent, frozenset(client.session.members))
        client.wake.set()
        if client.node.role == WAYPOINT:
            self.review()

    async def send(self, client: Client, context: Any) -> None:
        """Send what is due, as long as there is a client."""
        await self.gate.opened.wait()
        while True:
            await client.wake.wait()
            client.wake.clear()
            later = {} if client.node.role == WAYPOINT else {ADDRESS_TYPE: self.order.held}
            contents = self.contents_for(client.node)
            for response in client.session.responses(contents, later):
                response.control_plane.identifier = "tandem"
                try:
                    await context.write(response)
                except grpc.aio.BaseError:
                    return  # the client is gone, which ``receive`` sees too

    def status(self) -> list[dict[str, Any]]:
        """Every client with its subscriptions, JSON-able."""
        clients = sorted(self.clients, key=lambda client: client.node.id)
        return [{"node": c.node.id, "types": c.session.status()} for c in clients]
