"""From a pod here to another node: what arrives at 15001 in the pod's namespace.

The kernel redirected it, and says who connects and where to: the daemon chooses
nothing, and takes the pod's word for nothing. Whatever goes wrong reaches the
application as a reset; its connect() has succeeded by then.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from daemon.telemetry.tunnels import Ends, Tunnels
from daemon.tunnel.connection import TunnelConnection
from daemon.tunnel.errors import ResponseFlag, TunnelError
from daemon.tunnel.pool import TunnelPool
from daemon.tunnel.relay import Relay
from daemon.tunnel.report import Report
from daemon.tunnel.routes import Route, Routes, SourcePod, at_waypoint
from daemon.tunnel.sockets import PeerQuery, peer_of, reset
from ztunnel_compat.errors import HboneError
from ztunnel_compat.h2.codes import ErrorCode
from ztunnel_compat.hbone import (
    Authority,
    Headers,
    parse_response,
    request_headers,
    traceparent_of,
)
from ztunnel_compat.istio_labels import Labels
from ztunnel_compat.peer import FLOW_TUNNEL, Peer, parse_peer
from ztunnel_compat.runtime.tasks import Tasks

logger = logging.getLogger(__name__)

#: Connections that aren't joined to a stream yet, of all pods.
MOST_OPENING: Final = 16_384
#: A stream that came to nothing by no fault of the application at the far end may be
#: asked for again.
TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds. unknown: for the control plane to tell of a destination (ztunnel's);
    answer: for the far side to reach its application, which has 10 s for that.
    """

    unknown: float = 5.0
    answer: float = 15.0


LIMITS: Final = Limits()


class Outbound:
    """Joins pods' connections to streams.

    refused: connections that were reset before a tunnel was tried, by reason.
    """

    def __init__(
        self,
        *,
        routes: Routes,
        pool: TunnelPool,
        tunnels: Tunnels,
        tasks: Tasks,
        query: PeerQuery = peer_of,
        limits: Limits = LIMITS,
    ) -> None:
        self.pool = pool
        self.tunnels = tunnels
        self.tasks = tasks
        self.query = query
        self.limits = limits
        self.routes = routes
        self.openings: set[Opening] = set()
        self.relays: dict[tuple[int, str], set[Relay]] = {}
        self.refused: Counter[str] = Counter()
        self.news = asyncio.Event()

    def take(self, sources: Mapping[int, SourcePod], application: socket.socket) -> None:
        """A connection was accepted at 15001; application: non-blocking.

        sources: who may have made it, by ``workload``.
        """
        answer = self.query(application)
        if answer is None:
            self.refuse(application, sources, "no_peer")
            return
        peer = parse_peer(answer)
        pod = sources.get(peer.source)
        if not peer.flags & FLOW_TUNNEL:
            # Somebody connects to the listener itself: it would lead back to it.
            self.refuse(application, sources, "not_redirected")
        elif pod is None:
            self.refuse(application, sources, "foreign_source")
        elif len(self.openings) >= MOST_OPENING:
            self.refuse(application, sources, "limit")
        else:
            Opening(self, pod, application, peer).begin()

    def refuse(
        self, application: socket.socket, sources: Mapping[int, SourcePod], reason: str
    ) -> None:
        """Reset a connection, and count why."""
        self.refused[reason] += 1
        where = ", ".join(sorted(pod.uid for pod in sources.values()))
        logger.warning("%s: refused a connection to port 15001: %s", where, reason)
        reset(application)

    def on_change(self) -> None:
        """Something was pushed."""
        self.routes.clear()
        news, self.news = self.news, asyncio.Event()
        news.set()

    def leave(self, pod: SourcePod) -> None:
        """A pod left: what it has open is broken off."""
        for relay in list(self.relays.get(pod.place, ())):
            relay.break_off("the pod left the mesh")
        for opening in [o for o in self.openings if o.pod.place == pod.place]:
            opening.fail(TunnelError(ResponseFlag.CONNECT, "the pod left the mesh"))


class Opening:
    """An application's connection on its way to a stream."""

    __slots__ = (
        "application", "deadline", "outbound", "peer", "pod", "relay", "report", "reused",
        "route", "started", "tries",
    )  # fmt: skip

    route: Route
    report: Report

    def __init__(
        self, outbound: Outbound, pod: SourcePod, application: socket.socket, peer: Peer
    ) -> None:
        self.outbound = outbound
        self.pod = pod
        self.application = application
        self.peer = peer
        self.relay: Relay | None = None
        self.deadline: asyncio.TimerHandle | None = None
        self.tries = 0
        self.reused = False
        self.started = time.monotonic()

    def begin(self) -> None:
        """Ask at once where all is known and a connection is there; else wait."""
        outbound = self.outbound
        outbound.openings.add(self)
        route = outbound.routes.find(self.pod, self.peer)
        if route is not None:
            self.take_route(route)
            connection = outbound.pool.find(route.key)
            if connection is not None:
                self.ask(connection)
                return
        outbound.tasks.spawn(self.run(), "tunnel")

    async def run(self) -> None:
        """Wait for what isn't there yet, and ask."""
        outbound = self.outbound
        try:
            if not hasattr(self, "route"):
                self.take_route(await self.wait_for_route())
            connection = await outbound.pool.acquire(self.route.key)
        except TunnelError as error:
            self.fail(error)
            return
        if self in outbound.openings:
            self.ask(connection)

    async def wait_for_route(self) -> Route:
        """The control plane may be slower than the kernel; raises TunnelError."""
        outbound = self.outbound
        try:
            async with asyncio.timeout(outbound.limits.unknown):
                while True:
                    found = outbound.routes.find(self.pod, self.peer)
                    if found is not None:
                        return found
                    await outbound.news.wait()
        except TimeoutError:
            self.report_to(Ends(True, None, self.pod.identity, None, None), None)
            raise TunnelError(
                ResponseFlag.CONNECT,
                f"unknown destination: the control plane tells of no workload at {self.far()}",
            ) from None

    def take_route(self, route: Route) -> None:
        """It is known where it goes."""
        self.route = route
        self.report_to(route.ends, route.labels)

    def report_to(self, ends: Ends, labels: Labels | None) -> None:
        """Begin the report."""
        host, port = self.application.getpeername()[:2]
        self.report = Report(
            self.outbound.tunnels,
            ends,
            labels if labels is not None else ends.labels(),
            source=(socket.inet_pton(self.application.family, host), port),
            destination=(self.peer.far_address, self.outbound.routes.port),
            target=self.authority(),
        )
        self.report.started = self.started

    def far(self) -> Authority:
        """The endpoint that the kernel chose."""
        return Authority.of(self.peer.far_address, self.peer.far_port)

    def authority(self) -> str:
        """What is asked for: a waypoint has to know what the client called."""
        peer = self.peer
        if at_waypoint(peer):
            return str(Authority.of(peer.original_address, peer.original_port))
        return str(self.far())

    def ask(self, connection: TunnelConnection) -> None:
        """Open a stream."""
        self.tries += 1
        self.reused = bool(connection.heard)
        relay = Relay(connection, answered=self.answered, ended=self.broke)
        self.relay = relay
        address, port = self.report.source
        headers = request_headers(
            self.report.target,
            baggage=self.route.baggage,
            forwarded_for=str(Authority.of(address, port)),
            forwarded_host=self.route.service,
            traceparent=traceparent_of(secrets.token_bytes(24)),
        )
        relay.stream = connection.request(headers, relay)
        if self.deadline is None:
            seconds = self.outbound.limits.answer
            self.deadline = connection.loop.call_later(seconds, self.too_late)

    def answered(self, headers: Headers, end: bool) -> None:
        """The far side took the connection, or didn't."""
        relay = self.relay
        assert relay is not None
        try:
            status = parse_response(headers).status
        except HboneError as error:
            self.fail(TunnelError(ResponseFlag.CONNECT, str(error)))
            return
        if status < 200:
            return
        if status != 200:
            # ztunnel answers 401 where policy doesn't allow it.
            flag = ResponseFlag.DENY if status == 401 else ResponseFlag.CONNECT
            self.fail(TunnelError(flag, f"http status: {status}"))
            return
        self.leave()
        relays = self.outbound.relays.setdefault(self.pod.place, set())
        relays.add(relay)
        relay.ended = self.ended
        self.report.opened(relay)
        relay.join(self.application)
        relay.read_now()

    def broke(self, relay: Relay) -> None:
        """The stream was reset before there was an answer."""
        connection = relay.connection
        if self not in self.outbound.openings:
            return
        # A connection that was there before may end just when it is used again. Nothing
        # of the application's has left before an answer.
        again = relay.code == ErrorCode.REFUSED_STREAM or (connection.over and self.reused)
        if again and self.tries < TRIES:
            self.outbound.tasks.spawn(self.run(), "tunnel")
            return
        flag = connection.flag if connection.over else ResponseFlag.CONNECT
        self.fail(TunnelError(flag, relay.error))

    def too_late(self) -> None:
        """No answer."""
        seconds = self.outbound.limits.answer
        self.fail(
            TunnelError(ResponseFlag.CONNECT, f"the far side didn't answer for {seconds:.0f} s")
        )

    def fail(self, error: TunnelError) -> None:
        """Reset the application, and say why."""
        if self not in self.outbound.openings:
            return
        self.leave()
        reset(self.application)
        relay, self.relay = self.relay, None
        if relay is not None:
            relay.break_off(str(error), ErrorCode.CANCEL)
        if hasattr(self, "report"):
            self.report.ended(str(error), error.flag)

    def leave(self) -> None:
        """It isn't on its way any more."""
        self.outbound.openings.discard(self)
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    def ended(self, relay: Relay) -> None:
        """The application's connection is over."""
        self.relay = None
        relays = self.outbound.relays.get(self.pod.place)
        if relays is not None:
            relays.discard(relay)
            if not relays:
                del self.outbound.relays[self.pod.place]
        self.report.ended(relay.error)
