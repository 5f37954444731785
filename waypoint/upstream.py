"""An HTTP/1.1 connection to an endpoint: one request at a time, then idle in its pool."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from waypoint.access_log import upstream_part
from waypoint.errors import MessageError
from waypoint.handshake import KEY, accepts, new_key
from waypoint.holds import CONNECTING
from waypoint.layers.body import BodyReader, UntilCloseBody, body_reader
from waypoint.layers.headers import HEAD_LIMIT, Field
from waypoint.layers.http1 import END, find_response_head
from waypoint.layers.render import chunk, kept_trailers, last_chunk
from waypoint.layers.response import ResponseHead, broken, parse_response, response_of
from waypoint.member import Member
from waypoint.replies import BROKEN, TERMINATED
from waypoint.resilience.breakers import Resource
from waypoint.sockets import keep_alive, show_address
from waypoint.worker import Worker

if TYPE_CHECKING:
    from waypoint.clusters import Cluster
    from waypoint.exchange import Exchange
    from waypoint.plan import Plan

#: 1xx responses that may precede the final one.
INTERIM_MOST = 16


class Upstream(asyncio.Protocol):
    """One connection to an endpoint."""

    __slots__ = (
        "body", "chunking", "cluster", "deadline", "endpoint", "ends", "exchange", "head",
        "interims", "key", "local", "part", "partial", "searched", "served", "tick",
        "transport", "tunnel", "worker",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, worker: Worker, endpoint: Member) -> None:
        self.worker = worker
        self.endpoint = endpoint
        self.exchange: Exchange | None = None
        #: The response under way, once its head was read.
        self.head: ResponseHead | None = None
        self.body: BodyReader | None = None
        #: Whether the request's body is put into chunks here.
        self.chunking = False
        #: Our own key for an upgrade; and whether it was accepted.
        self.key = b""
        self.tunnel = False
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
        #: When it takes no more requests.
        self.ends = endpoint.cluster.settings.http.end(worker.time())
        self.tick = 0

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is up."""
        self.transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=self.worker.limits.write_buffer)
        self.local = show_address(transport.get_extra_info("sockname"))
        self.worker.stats.upstream_connections += 1
        keep_alive(transport, self.endpoint.cluster.settings.keepalive)
        self.worker.wheel.set(self, min(self.worker.time() + self.idle, self.ends))

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
            elif self.tunnel:
                exchange.respond_data(data)
            elif self.partial:
                self.partial += data
                self.take_partial(exchange)
            else:
                self.take_head(exchange, data)
        except MessageError:
            self.abort()
            exchange.upstream_failed(BROKEN)

    def eof_received(self) -> bool:
        """The endpoint is done: that may be how the response ends."""
        exchange = self.exchange
        if exchange is None:
            return False
        if self.tunnel:
            exchange.respond_last(b"", 0)
            return not exchange.over
        if isinstance(self.body, UntilCloseBody):
            self.finish(exchange, self.body, reusable=False)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, maybe under a request."""
        self.worker.wheel.remove(self)
        give_up(self.worker, self.endpoint)
        exchange = self.exchange
        if exchange is None:
            self.endpoint.forget(self)
        else:
            self.exchange = None
            silent = not (self.partial or self.interims)
            exchange.upstream_failed(TERMINATED, silent=silent, reused=self.served > 0)

    def pause_writing(self) -> None:
        """The endpoint takes the request's body more slowly than it comes."""
        if self.exchange is not None:
            self.exchange.pause_request()

    def resume_writing(self) -> None:
        """The endpoint caught up."""
        if self.exchange is not None:
            self.exchange.resume_request()

    # The request

    def begin(self, exchange: Exchange) -> None:
        """Send a request, as much of it as there is, in one write."""
        self.exchange = exchange
        exchange.up = self
        way = exchange.way
        assert way is not None
        if self.cluster is not way.cluster:
            self.cluster = way.cluster
            self.part = upstream_part(self.endpoint.label, way.cluster.name, self.local)
        exchange.upstream = self.part
        plan = exchange.plan
        wire = way.wire or way.http1()
        body = exchange.pending
        if not exchange.raw:
            self.chunking = plan.chunked
            body = self.framed(body, exchange.trailers, end=exchange.complete)
        if plan.head.upgrade:
            wire = self.ask_upgrade(plan, wire)
        if plan.needs_id:
            identifier = exchange.new_id().encode()
            self.transport.write(b"%bx-request-id: %b\r\n\r\n%b" % (wire, identifier, body))
        else:
            self.transport.write(wire + body if body else wire)
        exchange.begun()

    def ask_upgrade(self, plan: Plan, wire: bytes) -> bytes:
        """The head of an upgrade, with a key of ours when the client sent none."""
        if plan.head.request.header(KEY) is not None:
            self.key = b""
            return wire
        self.key = new_key()
        line = KEY + b": " + self.key + b"\r\n"
        return wire + line if plan.needs_id else wire[:-2] + line + b"\r\n"

    def framed(self, data: bytes, trailers: Sequence[Field] = (), *, end: bool) -> bytes:
        """Content as this connection's request has it."""
        if not self.chunking:
            return data
        framed = chunk(data) if data else b""
        return framed + last_chunk(trailers) if end else framed

    def data(self, data: bytes, *, end: bool) -> None:
        """Write content of the request; end: there is no more, and no trailers."""
        if self.chunking:
            data = self.framed(data, end=end)
        if data:
            self.transport.write(data)
        if end and self.tunnel:
            self.transport.write_eof()

    def trailers(self, fields: list[Field]) -> None:
        """Write trailers, for which there is only room behind chunks."""
        if self.chunking:
            self.transport.write(last_chunk(fields))

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
        plan = exchange.plan
        framing = 0 if plan.is_head else head.body
        if plan.http2 and plan.head.upgrade and head.status < 300:
            # To the client, a 2xx would say that the upgrade was accepted.
            raise broken(f"{head.status} to an upgrade")
        if framing == len(data) - length:
            self.release(exchange, reusable=head.keep_alive)
            exchange.respond_whole(head, data, length)
            return
        self.head = head
        as_it_is = exchange.as_it_is
        body = self.body = body_reader(framing, raw=as_it_is)
        first = body.feed(data[length:])
        exchange.respond(head, first, raw=as_it_is)
        if self.exchange is not exchange:
            return  # it goes again
        if body.done:
            self.finish(exchange, body, reusable=head.keep_alive and not body.rest)

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
        if head.status == 101:
            self.take_switch(exchange, head, rest)
            return
        if self.interims > INTERIM_MOST:
            raise broken("1xx without end")
        exchange.interim(head)
        if rest:
            self.take_head(exchange, rest)

    def take_switch(self, exchange: Exchange, head: ResponseHead, rest: bytes) -> None:
        """The endpoint accepts an upgrade; raises MessageError when nobody asked for it."""
        if not exchange.plan.head.upgrade:
            raise broken("an upgrade that nobody asked for")
        if self.key and not accepts(response_of(head).fields, self.key):
            raise broken("an upgrade that doesn't answer our key")
        self.tunnel = True
        exchange.switch(head)
        if rest and not exchange.over:
            exchange.respond_data(rest)

    def take_body(self, exchange: Exchange, body: BodyReader, data: bytes) -> None:
        """Pass on what belongs to the response; raises MessageError."""
        passed = body.feed(data)
        if body.done:
            keep = self.head is not None and self.head.keep_alive and not body.rest
            self.finish(exchange, body, passed, reusable=keep)
        elif passed:
            exchange.respond_data(passed)

    def finish(
        self, exchange: Exchange, body: BodyReader, last: bytes = b"", *, reusable: bool
    ) -> None:
        """The response is complete; last: what is still to be passed on of it."""
        self.head = None
        self.body = None
        self.release(exchange, reusable=reusable)
        if body.trailers and not exchange.down.raw:
            if last:
                exchange.respond_data(last)
            exchange.respond_trailers(kept_trailers(body.trailers), body.data)
        else:
            exchange.respond_last(last, body.data)

    def release(self, exchange: Exchange, *, reusable: bool) -> None:
        """Part from the exchange: back to the pool, or close."""
        self.exchange = None
        exchange.up = None
        self.served += 1
        self.interims = 0
        self.chunking = False
        endpoint = self.endpoint
        most = endpoint.cluster.settings.http.max_requests
        if not reusable or not exchange.complete or (most and self.served >= most):
            self.transport.abort()
            return
        now = self.worker.time()
        if now >= self.ends:
            self.transport.abort()
            return
        if exchange.down.paused:
            self.transport.resume_reading()
        waiting = endpoint.cluster.next_waiting() if endpoint.cluster.queue else None
        if waiting is not None:
            waiting.moved_to(endpoint)
            self.begin(waiting)
            waiting.down.release(CONNECTING)
        elif endpoint.give(self):
            self.deadline = now + self.idle
        else:
            self.transport.abort()

    @property
    def idle(self) -> float:
        """Seconds that it may be kept without a request."""
        return self.endpoint.cluster.settings.http.idle(self.worker.limits.upstream_idle)

    def close(self) -> None:
        """Close when what was written is out: an idle connection, or a tunnel's."""
        self.exchange = None
        self.transport.close()

    def pause(self) -> None:
        """Take no more of the response for now."""
        self.transport.pause_reading()

    def resume(self) -> None:
        """Take it again."""
        self.transport.resume_reading()

    def detach(self) -> None:
        """Forget the exchange, which is over or goes elsewhere."""
        self.exchange = None

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self.exchange = None
        self.transport.abort()

    def due(self, now: float) -> float | None:
        """Close when idle for too long, or there for too long."""
        if self.exchange is not None:
            return now + self.idle
        if now < self.deadline and now < self.ends:
            return min(self.deadline, self.ends)
        self.endpoint.forget(self)
        self.close()
        return None


def give_up(worker: Worker, endpoint: Member) -> None:
    """There is one connection less: who waits for one gets a new one."""
    cluster = endpoint.cluster
    cluster.breakers.default.free(Resource.CONNECTIONS)
    waiting = cluster.next_waiting() if cluster.queue else None
    if waiting is not None and waiting.endpoint is not None:
        cluster.breakers.default.take(Resource.CONNECTIONS)
        worker.tasks.spawn(connect(worker, waiting.endpoint, waiting), "connect")


async def connect(worker: Worker, endpoint: Member, exchange: Exchange) -> None:
    """Open a connection for an exchange, or into the pool when that is over."""
    try:
        async with asyncio.timeout(endpoint.cluster.settings.connect_timeout):
            _, upstream = await worker.connect(
                lambda: Upstream(worker, endpoint), endpoint.host, endpoint.port
            )
    except OSError as error:
        give_up(worker, endpoint)
        if exchange.waits:
            exchange.connect_failed(endpoint, error)
        return
    if upstream.transport.is_closing():
        if exchange.waits:
            exchange.connect_failed(endpoint, ConnectionResetError())
    elif exchange.waits:
        upstream.begin(exchange)
        exchange.down.release(CONNECTING)
    elif not endpoint.give(upstream):
        upstream.close()
