"""Bytes both ways: what isn't HTTP is balanced per connection and relayed."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import cast

from waypoint.access_log import (
    NO_AUTHORITY,
    NO_BYTES,
    NOBODY,
    connect_failure,
    line,
    quoted,
    upstream_part,
)
from waypoint.clusters import Cluster
from waypoint.filters.verdicts import Refusal
from waypoint.member import Member
from waypoint.resilience.breakers import Resource
from waypoint.resilience.outlier import Outcome
from waypoint.sockets import keep_alive, reset, show_address
from waypoint.streams import StreamChain
from waypoint.targets import Target
from waypoint.worker import Caller, Worker
from ztunnel_compat.istio_labels import Labels
from ztunnel_compat.model import AppProtocol

#: Endpoints that are tried for one connection.
CONNECT_ATTEMPTS = 3


class Side(asyncio.Protocol):
    """One of a relay's two connections."""

    __slots__ = ("ended", "gone", "other", "paused", "received", "relay", "transport")

    transport: asyncio.Transport

    def __init__(self, relay: Relay, other: Side | None = None) -> None:
        self.relay = relay
        #: Where its bytes go; the client has none until an endpoint is there.
        self.other = other
        #: Its peer has said all it had to say.
        self.ended = False
        #: The connection is closed.
        self.gone = False
        #: Its own peer doesn't keep up with what the other side sends.
        self.paused = False
        self.received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is up."""
        self.transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=self.relay.worker.limits.write_buffer)

    def data_received(self, data: bytes) -> None:
        """Pass bytes to the other side."""
        self.relay.active = True
        self.received += len(data)
        if self.other is None:
            self.relay.early += data
        else:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        """Half-close: the other direction may go on for as long as it likes."""
        self.ended = True
        if self.other is not None:
            self.pass_end()
        return True

    def pass_end(self) -> None:
        """Tell the other side's peer; when both have ended, it's over."""
        if self.other is not None and not self.relay.over:
            self.other.transport.write_eof()
            if self.other.ended:
                self.relay.finish()

    def connection_lost(self, exc: Exception | None) -> None:
        """An end that wasn't announced goes on to the other side as a reset."""
        self.gone = True
        self.relay.lost(self)

    def pause_writing(self) -> None:
        """The peer here reads more slowly than the other one sends."""
        self.paused = True
        if self.other is not None:
            self.other.pause()

    def resume_writing(self) -> None:
        """The peer here caught up."""
        self.paused = False
        if self.other is not None:
            self.other.resume()

    def pause(self) -> None:
        """Stop to read."""
        self.transport.pause_reading()

    def resume(self) -> None:
        """Read again, unless there is nothing more to come."""
        if not self.ended:
            self.transport.resume_reading()


class Relay:
    """A client's connection, and the one to an endpoint that it is joined to."""

    __slots__ = (
        "active", "attempts", "caller", "client", "cluster", "counted", "deadline", "details",
        "early", "endpoint", "ends", "failed_at", "failure", "labels", "local", "name", "over",
        "server", "started", "tick", "told", "wall", "worker",
    )  # fmt: skip

    def __init__(
        self, worker: Worker, caller: Caller, cluster: Cluster, name: str = ""
    ) -> None:
        self.worker = worker
        self.caller = caller
        self.cluster = cluster
        #: The server that a ClientHello asked for.
        self.name = name
        self.client = Side(self)
        self.server: Side | None = None
        #: Where it leads, or was last tried to; counted: it is one of the cluster's
        #: connections.
        self.endpoint: Member | None = None
        self.failed_at: Member | None = None
        self.counted = False
        self.local = "-"
        self.failure = "-"
        #: What it is counted under, and the bytes that were, each way.
        self.labels: Labels | None = None
        self.told = (0, 0)
        #: Why a policy refused it.
        self.details = "-"
        #: What the client said before there was an endpoint to say it to.
        self.early = b""
        self.started = worker.time()
        self.wall = time.time()
        self.active = False
        self.over = False
        self.deadline = self.started + worker.limits.idle
        #: How long it may be there, whatever moves.
        self.ends = cluster.settings.http.end(self.started)
        self.tick = 0

    def start(self, transport: asyncio.Transport) -> None:
        """Take over a client's connection."""
        transport.set_protocol(self.client)
        self.client.connection_made(transport)
        # What comes before there is an endpoint stays in the kernel; a transport
        # can only be paused after its connection_made.
        self.worker.loop.call_soon(self.pause_client)
        self.worker.relays.add(self)
        self.worker.stats.tcp_connections += 1
        self.worker.wheel.set(self, min(self.deadline, self.ends))
        self.worker.tasks.spawn(self.connect(), "connect")

    def refuse(self, details: str) -> None:
        """A policy is against it."""
        self.details = details
        self.break_off("-")

    def pushed(self) -> None:
        """The mesh has changed: whoever may no longer be here goes."""
        target = self.worker.targets.find(self.caller.peer)
        if target is None or self.over:
            return
        if target.protocol is not AppProtocol.TCP and not target.takes_bytes:
            # There are filters now, which bytes would go past.
            self.worker.stats.refuse("not_http")
            self.refuse("not_http")
            return
        chain = target.stream_chain(self.name, self.caller.source)
        if chain is not None:
            refusal, _ = decided(self.caller, chain, self.name)
            if refusal is not None:
                self.worker.stats.refuse("policy")
                self.refuse(refusal.details)

    def pause_client(self) -> None:
        """Hold the client until it is joined to an endpoint."""
        if self.server is None and not self.over:
            self.client.pause()

    async def connect(self) -> None:
        """Try endpoints until one takes the connection."""
        cluster = self.cluster
        tried: tuple[Member, ...] = ()
        if not cluster.breakers.default.take(Resource.CONNECTIONS):
            self.break_off("UO")
            return
        self.counted = True
        while not self.over and len(tried) < CONNECT_ATTEMPTS:
            endpoint = cluster.pick(self.worker.random(), None, tried)
            if endpoint is None:
                break
            self.endpoint = endpoint
            endpoint.begin()
            try:
                async with asyncio.timeout(cluster.settings.connect_timeout):
                    _, side = await self.worker.connect(
                        lambda: Side(self, self.client), endpoint.host, endpoint.port
                    )
            except OSError as error:
                self.worker.stats.connect_failures += 1
                self.failure = connect_failure(error)
                tried = (*tried, endpoint)
                if not self.over:
                    endpoint.end(Outcome.CONNECT_FAILED)
                    self.endpoint = None
                    self.failed_at = endpoint
            else:
                endpoint.report(Outcome.CONNECTED)
                keep_alive(side.transport, cluster.settings.keepalive)
                self.join(side)
                return
        if not self.over:
            flags = "UF" if tried else "UH" if self.cluster.known else "NC"
            self.break_off(flags)

    def join(self, server: Side) -> None:
        """The endpoint is there: let the client's bytes through."""
        if self.over:
            reset(server.transport)
            return
        self.server = server
        place = self.endpoint or self.cluster
        self.labels = self.worker.recorder.opened(self.caller.client, place)
        self.local = show_address(server.transport.get_extra_info("sockname"))
        self.client.other = server
        if server.transport.is_closing():
            self.lost(server)
            return
        if self.early:
            server.transport.write(self.early)
            self.early = b""
        if self.client.ended:
            self.client.pass_end()
        elif not server.paused:
            self.client.resume()

    def finish(self) -> None:
        """Both directions have ended in order: what was written still goes out."""
        self.end("-")
        for side in self.sides():
            side.transport.close()
        self.deadline = self.worker.time() + self.worker.limits.flush
        self.worker.wheel.set(self, self.deadline)

    def lost(self, side: Side) -> None:
        """A connection is gone; when that wasn't in order, the other goes too."""
        if not self.over:
            self.break_off("DC" if side is self.client else "UC")
        if all(s.gone for s in self.sides()):
            self.worker.wheel.remove(self)
            self.worker.relays.discard(self)

    def break_off(self, flags: str) -> None:
        """Reset whatever is connected, as the broken side was."""
        self.end(flags)
        for side in self.sides():
            if not side.gone:
                reset(side.transport)

    def sides(self) -> tuple[Side, ...]:
        """The connections there are."""
        return (self.client,) if self.server is None else (self.client, self.server)

    def due(self, now: float) -> float | None:
        """Time out, when nothing has moved for long enough."""
        if self.over:
            for side in self.sides():
                side.transport.abort()
            return None
        if self.active:
            self.active = False
            self.deadline = now + self.worker.limits.idle
        if now < self.deadline and now < self.ends:
            return min(self.deadline, self.ends)
        self.break_off("SI" if now < self.ends else "DT")
        return None

    def tell(self) -> None:
        """Count what has moved since it was last counted."""
        if self.labels is None or self.server is None:
            return
        received, sent = self.client.received, self.server.received
        before = self.told
        self.told = (received, sent)
        self.worker.recorder.moved(self.labels, received - before[0], sent - before[1])

    def end(self, flags: str) -> None:
        """Count the end and write the log line, once."""
        if self.over:
            return
        self.over = True
        worker = self.worker
        recorder = worker.recorder
        if self.labels is None:
            # It led nowhere: counted as Envoy does, with the flags that say why.
            place = self.endpoint or self.failed_at or self.cluster
            self.labels = recorder.opened(self.caller.client, place, flags)
        self.tell()
        recorder.closed(self.labels)
        if self.counted:
            self.cluster.breakers.default.free(Resource.CONNECTIONS)
        if self.endpoint is not None:
            self.endpoint.end()
        if not worker.log.on:
            return
        last = self.endpoint or self.failed_at
        host = last.label if last is not None else "-"
        worker.log.add(
            line(
                start=worker.clock.render(self.wall),
                request=NO_BYTES,
                status=0,
                flags=flags,
                details="-",
                termination=self.details,
                failure=self.failure,
                received=self.client.received,
                sent=self.server.received if self.server is not None else 0,
                duration=int((worker.time() - self.started) * 1000),
                service_time="-",
                agent=NOBODY,
                request_id="-",
                authority=NO_AUTHORITY,
                upstream=upstream_part(host, self.cluster.name, self.local),
                downstream=f"{self.caller.log[:-1]}{quoted(self.name.encode())}",
                route="-",
                peer=self.caller.identity,
            )
        )


def decided(
    caller: Caller, chain: StreamChain, name: str
) -> tuple[Refusal | None, tuple[str, ...]]:
    """Why policies let no bytes through, or None: they do; and what to count."""
    if not chain.access:
        return None, ()
    return chain.decide(caller.source, replace(caller.facts(""), server_name=name))


def relay_to(
    worker: Worker,
    caller: Caller,
    target: Target,
    transport: asyncio.Transport,
    name: str = "",
) -> Relay | None:
    """Relay a client's bytes to where its target leads; None: nowhere, and it was reset.

    name: of the server that TLS asks for.
    """
    chain = target.stream_chain(name, caller.source)
    if chain is None:
        worker.stats.refuse("no_route")
        reset(transport)
        return None
    relay = Relay(worker, caller, target.stream_cluster(chain, worker.random()), name)
    refusal, counts = decided(caller, chain, name)
    for count in counts:
        worker.stats.filter(count)
    if refusal is not None:
        worker.stats.refuse("policy")
        relay.client.transport = transport
        relay.refuse(refusal.details)
        return None
    relay.start(transport)
    return relay
