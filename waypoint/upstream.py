"""A connection to an endpoint: one request at a time, then idle in its pool."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from waypoint.errors import MessageError
from waypoint.layers.body import BodyReader, UntilCloseBody, body_reader
from waypoint.layers.headers import HEAD_LIMIT, UNTIL_CLOSE
from waypoint.layers.http1 import END, find_response_head
from waypoint.layers.response import ResponseHead, broken, parse_response
from waypoint.pool import Endpoint
from waypoint.sockets import show_address
from waypoint.worker import Worker

if TYPE_CHECKING:
    from waypoint.clusters import Cluster
    from waypoint.exchange import Exchange

#: 1xx responses that may precede the final one.
INTERIM_MOST = 16


class Upstream(asyncio.Protocol):
    """One connection to an endpoint."""

    __slots__ = (
        "body", "cluster", "deadline", "endpoint", "exchange", "head", "interims", "local",
        "part", "partial", "searched", "served", "tick", "transport", "worker",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, worker: Worker, endpoint: Endpoint) -> None:
        self.worker = worker
        self.endpoint = endpoint
        self.exchange: Exchange | None = None
        #: The response under way, once its head was read.
        self.head: ResponseHead | None = None
        self.body: BodyReader | None = None
        #: The start of a head that isn't whole yet.
        self.partial = bytearray()
        self.searched = 0
        self.interims = 0
        #: Requests that this connection has brought to their end.
        self.served = 0
        self.local = "-"
        #: The access log's part on this connection, as used by a cluster.
        self.cluster: Cluster | None = None
        self.part = ""
        self.deadline = 0.0
        self.tick = 0

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is up."""
        self.transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=self.worker.limits.write_buffer)
        self.local = show_address(transport.get_extra_info("sockname"))
        self.worker.stats.upstream_connections += 1
        self.worker.wheel.set(self, self.worker.time() + self.worker.limits.upstream_idle)

    def data_received(self, data: bytes) -> None:
        """Take a response's bytes."""
        exchange = self.exchange
        if exchange is None:
            # A response that nobody asked for would poison the next request's.
            self.worker.stats.stray_bytes += 1
            self.abort()
            return
        try:
            if self.body is not None:
                self.take_body(exchange, self.body, data)
            elif self.partial:
                self.partial += data
                self.take_partial(exchange)
            else:
                self.take_head(exchange, data)
        except MessageError:
            exchange.upstream_broken()

    def eof_received(self) -> bool:
        """The endpoint is done: that may be how the response ends."""
        exchange = self.exchange
        if exchange is not None and isinstance(self.body, UntilCloseBody):
            self.finish(exchange, self.body.data, reusable=False)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, maybe under a request."""
        self.worker.wheel.remove(self)
        exchange = self.exchange
        if exchange is None:
            self.endpoint.forget(self)
        else:
            exchange.upstream_lost(
                silent=not (self.partial or self.interims), reused=self.served > 0
            )

    def pause_writing(self) -> None:
        """The endpoint takes the request's body more slowly than it comes."""
        if self.exchange is not None:
            self.exchange.pause_request()

    def resume_writing(self) -> None:
        """The endpoint caught up."""
        if self.exchange is not None:
            self.exchange.resume_request()

    # The response

    def take_head(self, exchange: Exchange, data: bytes) -> None:
        """Read a head and what came along with it; raises MessageError."""
        found = data.find(END)
        if not 0 <= found <= HEAD_LIMIT - 4:
            self.partial += data
            self.searched = 0
            self.take_partial(exchange)
            return
        length = found + 4
        raw = data[:length]
        head = self.worker.responses.get(raw)
        if head is None:
            head = parse_response(raw)
            if not head.secret:
                self.worker.responses.offer(raw, head)
        if head.status < 200:
            self.take_interim(exchange, head, data[length:])
            return
        framing = 0 if exchange.plan.is_head else head.body
        if framing == len(data) - length:
            self.release(exchange, reusable=head.keep_alive)
            exchange.respond_whole(head, data, length)
            return
        self.head = head
        body = self.body = body_reader(framing)
        first = body.feed(data[length:])
        exchange.respond(head, first, close=framing == UNTIL_CLOSE)
        if body.done:
            self.finish(exchange, body.data, reusable=head.keep_alive and not body.rest)

    def take_partial(self, exchange: Exchange) -> None:
        """Look for the head's end again; raises MessageError."""
        if not find_response_head(self.partial, self.searched):
            self.searched = len(self.partial)
            return
        data = bytes(self.partial)
        self.partial.clear()
        self.take_head(exchange, data)

    def take_interim(self, exchange: Exchange, head: ResponseHead, rest: bytes) -> None:
        """Pass a 1xx response on, and read what follows; raises MessageError."""
        self.interims += 1
        if head.status == 101 or self.interims > INTERIM_MOST:
            raise broken("an upgrade that nobody asked for, or 1xx without end")
        exchange.interim(head)
        if rest:
            self.take_head(exchange, rest)

    def take_body(self, exchange: Exchange, body: BodyReader, data: bytes) -> None:
        """Pass on what belongs to the response; raises MessageError."""
        exchange.respond_data(body.feed(data))
        if body.done:
            keep = self.head is not None and self.head.keep_alive and not body.rest
            self.finish(exchange, body.data, reusable=keep)

    def finish(self, exchange: Exchange, sent: int, *, reusable: bool) -> None:
        """The response is complete."""
        self.head = None
        self.body = None
        self.release(exchange, reusable=reusable)
        exchange.respond_end(sent)

    def release(self, exchange: Exchange, *, reusable: bool) -> None:
        """Part from the exchange: back to the pool, or close."""
        self.exchange = None
        exchange.up = None
        self.served += 1
        self.interims = 0
        if reusable and exchange.complete and self.endpoint.give(self):
            self.deadline = self.worker.time() + self.worker.limits.upstream_idle
            if exchange.down.write_paused:
                self.transport.resume_reading()
        else:
            self.abort()

    def close(self) -> None:
        """Close an idle connection."""
        self.transport.close()

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self.transport.abort()

    def due(self, now: float) -> float | None:
        """Close when idle for too long."""
        idle = self.worker.limits.upstream_idle
        if self.exchange is not None:
            return now + idle
        if now < self.deadline:
            return self.deadline
        self.endpoint.forget(self)
        self.close()
        return None


async def connect(worker: Worker, endpoint: Endpoint, exchange: Exchange) -> None:
    """Open a connection for an exchange, or into the pool when that is over."""
    try:
        async with asyncio.timeout(worker.limits.connect):
            _, upstream = await worker.loop.create_connection(
                lambda: Upstream(worker, endpoint), endpoint.host, endpoint.port
            )
    except OSError as error:
        if not exchange.over:
            exchange.connect_failed(endpoint, error)
        return
    if upstream.transport.is_closing():
        if not exchange.over:
            exchange.connect_failed(endpoint, ConnectionResetError())
    elif not exchange.over:
        exchange.connected(upstream)
    elif not endpoint.give(upstream):
        upstream.close()
