"""Connections whose first bytes decide who serves them."""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from waypoint.downstream import Downstream
from waypoint.http2.downstream import Http2Downstream
from waypoint.layers.sniff import Kind, kind_of, kind_of_http, server_name
from waypoint.sockets import reset
from waypoint.targets import Target
from waypoint.tcp import relay_to
from waypoint.worker import Caller, Worker
from ztunnel_compat.model import AppProtocol

logger = logging.getLogger(__name__)

#: Ports on which a client always speaks first, in one HTTP or the other.
HTTP = frozenset({AppProtocol.HTTP11, AppProtocol.HTTP2, AppProtocol.GRPC})


class Undecided(asyncio.Protocol):
    """A client's connection until its protocol is known.

    Where the port doesn't say that it is HTTP, the server may be the one to speak first:
    so a client that says nothing for a moment gets its bytes relayed. That is counted.
    A port with routes or filters for requests waits for the client; and with filters,
    what isn't HTTP is refused, since it would go past them.
    """

    __slots__ = (
        "caller", "deadline", "ended", "first", "target", "tick", "timer", "transport",
        "worker",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, worker: Worker, caller: Caller, target: Target) -> None:
        self.worker = worker
        self.caller = caller
        self.target = target
        self.first = b""
        self.ended = False
        self.timer: asyncio.TimerHandle | None = None
        self.deadline = worker.time() + worker.limits.idle
        self.tick = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Listen, for ever or for a moment."""
        self.transport = cast("asyncio.Transport", transport)
        worker = self.worker
        worker.undecided.add(self)
        worker.wheel.set(self, self.deadline)
        if not (self.target.protocol in HTTP or self.target.expects_http):
            self.timer = worker.loop.call_later(worker.limits.detect, self.give_up)

    def data_received(self, data: bytes) -> None:
        """See whether it is enough."""
        self.first += data
        tell = kind_of_http if self.target.protocol in HTTP else kind_of
        kind = tell(self.first)
        if kind is not None:
            self.decide(kind)
        elif self.deadline > self.worker.time() + self.worker.limits.head:
            self.deadline = self.worker.time() + self.worker.limits.head
            self.worker.wheel.set(self, self.deadline)

    def eof_received(self) -> bool:
        """There is no more: what came must do."""
        self.ended = True
        if self.target.protocol not in HTTP:
            self.decide(Kind.BYTES)
            return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """It didn't say enough."""
        self.leave()

    def give_up(self) -> None:
        """The client waits for the server, or is too slow to be told from one that does."""
        self.worker.stats.detection_timeouts += 1
        self.decide(Kind.BYTES)

    def leave(self) -> None:
        """Be undecided no more."""
        self.worker.undecided.discard(self)
        self.worker.wheel.remove(self)
        if self.timer is not None:
            self.timer.cancel()

    def decide(self, kind: Kind) -> None:
        """Make the connection its server's, by what is configured now."""
        self.leave()
        self.target = self.worker.targets.find(self.caller.peer) or self.target
        said = self.target.protocol
        if said is AppProtocol.TCP or (said is AppProtocol.TLS and kind is not Kind.TLS):
            kind = Kind.BYTES
        transport = self.transport
        protocol: Downstream | Http2Downstream
        if kind is Kind.HTTP2:
            protocol = Http2Downstream(self.worker, self.caller, self.target)
        elif kind is Kind.HTTP1:
            protocol = Downstream(self.worker, self.caller, self.target)
        else:
            name = server_name(self.first) if kind is Kind.TLS else ""
            self.relay(name)
            return
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(self.first)

    def relay(self, name: str) -> None:
        """Pass bytes on, to where the server's name leads."""
        if not self.target.takes_bytes:
            if not self.first:
                self.transport.close()
                return
            self.worker.stats.refuse("not_http")
            logger.warning(
                "refused a connection to port %d of %s: it isn't HTTP, which the port's "
                "filters are for; name the port tcp if it shouldn't be",
                self.target.port,
                self.target.name,
            )
            reset(self.transport)
            return
        relay = relay_to(self.worker, self.caller, self.target, self.transport, name)
        if relay is None:
            return
        if self.first:
            relay.client.data_received(self.first)
        if self.ended:
            relay.client.eof_received()

    def drain(self) -> None:
        """Nothing was asked yet."""
        self.leave()
        self.transport.close()

    def due(self, now: float) -> float | None:
        """Close what says nothing, or not enough."""
        if now < self.deadline:
            return self.deadline
        if self.first and self.target.protocol in HTTP:
            # The start of HTTP/2's preface is no HTTP/1.1: which is told there.
            self.decide(Kind.HTTP1)
        else:
            self.transport.close()
        return None
