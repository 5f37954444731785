"""HTTP/2 connections to endpoints, which requests share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from waypoint.access_log import upstream_part
from waypoint.holds import CONNECTING, DOWNSTREAM
from waypoint.http2.heads import read_response
from waypoint.http2.wire import Credit, Wire
from waypoint.layers.headers import Field
from waypoint.layers.render import kept_trailers
from waypoint.layers.response import ResponseHead
from waypoint.member import Member
from waypoint.replies import BROKEN, NO_UPGRADE, REFUSED, RESET, TERMINATED
from waypoint.sockets import show_address
from waypoint.worker import Worker
from ztunnel_compat.h2.codes import ErrorCode, Role
from ztunnel_compat.h2.fields import Fields
from ztunnel_compat.h2.streams import Stream

if TYPE_CHECKING:
    from waypoint.clusters import Cluster
    from waypoint.exchange import Exchange


class Call(Credit):
    """A stream to an endpoint: one request, sent, and its response."""

    __slots__ = ("conn", "content", "exchange", "interims", "paused")

    def __init__(self, conn: Http2Upstream, stream: Stream, exchange: Exchange) -> None:
        self.wire = self.conn = conn
        self.stream = stream
        self.holds = 0
        self.owed = 0
        self.exchange: Exchange | None = exchange
        self.content = 0
        self.interims = 0
        #: Its send queue is full.
        self.paused = False

    def data(self, data: bytes, *, end: bool) -> None:
        """Write content of the request; end: there is no more, and no trailers."""
        conn = self.conn
        queued = conn.http.send_data(self.stream, data, end=end)
        conn.flush_soon()
        if queued > conn.http.queue_high and not self.paused and not end:
            self.paused = True
            if self.exchange is not None:
                self.exchange.pause_request()

    def writable(self) -> None:
        """The send queue has room again."""
        self.paused = False
        if self.exchange is not None:
            self.exchange.resume_request()

    def trailers(self, fields: list[Field]) -> None:
        """Write trailers, which end the request."""
        if fields:
            self.conn.http.send_trailers(self.stream, fields)
        else:
            self.conn.http.send_data(self.stream, b"", end=True)
        self.conn.flush_soon()

    def pause(self) -> None:
        """Take no more of the response for now."""
        self.hold(DOWNSTREAM)

    def resume(self) -> None:
        """Take it again."""
        self.release(DOWNSTREAM)

    def detach(self) -> None:
        """Forget the exchange, which is over or goes elsewhere."""
        self.exchange = None
        self.holds = 0

    def close(self) -> None:
        """Forget the exchange: the stream's ends have both come."""
        self.detach()

    def abort(self) -> None:
        """Forget the exchange, and tell the endpoint that nobody waits."""
        self.detach()
        self.conn.http.reset(self.stream, ErrorCode.CANCEL)
        self.conn.flush_soon()


class Http2Upstream(Wire):
    """One connection to an endpoint."""

    __slots__ = ("cluster", "endpoint", "gone", "local", "part", "served", "waiting")

    def __init__(self, worker: Worker, endpoint: Member) -> None:
        super().__init__(worker, Role.CLIENT)
        self.endpoint = endpoint
        #: Responses that came to their end.
        self.served = 0
        self.gone = False
        self.local = "-"
        #: The access log's part on this connection, as used by a cluster.
        self.cluster: Cluster | None = None
        self.part = ""
        #: Upgrades that wait for the endpoint's settings, which allow them.
        self.waiting: list[Exchange] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is up: requests may go along with the preface."""
        super().connection_made(transport)
        self.local = show_address(transport.get_extra_info("sockname"))
        self.worker.stats.upstream_connections += 1
        self.deadline = self.worker.time() + self.worker.limits.upstream_idle
        self.worker.wheel.set(self, self.deadline)

    def data_received(self, data: bytes) -> None:
        """Take responses."""
        super().data_received(data)
        if self.waiting and self.http.greeted:
            waiting, self.waiting = self.waiting, []
            for exchange in waiting:
                if exchange.over:
                    continue
                if self.has_room():
                    self.begin(exchange)
                else:
                    exchange.upstream_failed(REFUSED)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, maybe under requests."""
        self.gone = True
        self.leave()
        super().connection_lost(exc)
        waiting, self.waiting = self.waiting, []
        for exchange in waiting:
            if not exchange.over:
                exchange.upstream_failed(REFUSED)

    def leave(self) -> None:
        """Take no more requests."""
        if self in self.endpoint.shared:
            self.endpoint.shared.remove(self)

    def has_room(self) -> bool:
        """Whether another request may be sent."""
        return self.http.can_open and not self.transport.is_closing()

    # Requests

    def begin(self, exchange: Exchange) -> None:
        """Send a request, as much of it as there is."""
        plan = exchange.plan
        if plan.head.upgrade and not self.upgrades(exchange):
            return
        way = exchange.way
        assert way is not None
        if self.cluster is not way.cluster:
            self.cluster = way.cluster
            self.part = upstream_part(self.endpoint.label, way.cluster.name, self.local)
        exchange.upstream = self.part
        fields = way.fields or way.http2()
        body = exchange.pending
        end = exchange.complete and not plan.head.upgrade
        last = end and not body and not exchange.trailers
        unique = (b"x-request-id", exchange.new_id().encode()) if plan.needs_id else None
        stream = self.http.request(fields, end=last, unique=unique)
        call = exchange.up = stream.data = Call(self, stream, exchange)
        self.flush_soon()
        if body:
            call.data(body, end=end and not exchange.trailers)
        if end and exchange.trailers:
            call.trailers(exchange.trailers)
        exchange.begun()

    def upgrades(self, exchange: Exchange) -> bool:
        """Whether an upgrade may be sent; else it waits, or was answered."""
        if not self.http.greeted:
            self.waiting.append(exchange)
            return False
        if not self.http.connect_protocol:
            exchange.answer(502, "UPE", "upstream_takes_no_upgrades", NO_UPGRADE)
            return False
        return True

    def on_request(self, stream: Stream, headers: Fields, end: bool) -> None:
        """Clients get none."""

    # Responses

    def on_response(self, stream: Stream, headers: Fields, end: bool) -> None:
        """Pass a head on."""
        call: Call = stream.data
        exchange = call.exchange
        if exchange is None:
            return
        plan = exchange.plan
        heads: dict[int, ResponseHead] | None = headers.note
        if heads is None:
            heads = headers.note = {}
        key = end + 2 * plan.is_head
        head = heads.get(key)
        if head is None:
            head = heads[key] = read_response(headers, end=end)
        if head.status < 200:
            call.interims += 1
            exchange.interim(head)
        elif plan.head.upgrade and head.status < 300:
            exchange.switch(head)
            if end:
                exchange.respond_last(b"", 0)
        elif end:
            self.served += 1
            call.exchange = exchange.up = None
            exchange.respond_end(head)
        else:
            exchange.respond(head, b"", raw=False)

    def on_data(self, stream: Stream, data: bytes, end: bool) -> None:
        """Pass content on at once."""
        call: Call = stream.data
        exchange = call.exchange
        size = len(data)
        if exchange is None:
            self.http.consumed(stream, size)
            return
        call.content += size
        if end:
            self.served += 1
            if not exchange.tunnel:
                call.exchange = exchange.up = None
            exchange.respond_last(data, call.content)
        else:
            exchange.respond_data(data)
        call.passed(size)

    def on_trailers(self, stream: Stream, headers: Fields) -> None:
        """The response ends with trailers."""
        call: Call = stream.data
        exchange = call.exchange
        if exchange is None:
            return
        self.served += 1
        call.exchange = exchange.up = None
        fields: list[Field] | None = headers.note
        if fields is None:
            fields = headers.note = kept_trailers(headers)
        exchange.respond_trailers(fields, call.content)

    def on_reset(self, stream: Stream, code: int) -> None:
        """The endpoint refused or broke off."""
        call: Call | None = stream.data
        exchange = call.exchange if call is not None else None
        if call is None or exchange is None:
            return
        silent = not call.interims
        if code == ErrorCode.REFUSED_STREAM and silent:
            exchange.upstream_failed(REFUSED)
        elif self.gone:
            exchange.upstream_failed(TERMINATED, silent=silent, reused=self.served > 0)
        elif self.http.closed or self.http.broken(stream):
            exchange.upstream_failed(BROKEN)
        else:
            exchange.upstream_failed(RESET, code=code)

    def on_writable(self, stream: Stream) -> None:
        """The stream's queue has room again."""
        stream.data.writable()

    def on_goaway(self, last_stream: int, code: int) -> None:
        """The endpoint takes no new requests here; others get a new connection."""
        self.leave()
        self.flush_soon()

    # Ends

    def drain(self) -> None:
        """Take no more requests, and close after those under way."""
        self.leave()
        self.http.goaway()
        self.flush_soon()

    def due(self, now: float) -> float | None:
        """Close when idle for too long."""
        idle = self.worker.limits.upstream_idle
        if self.active or self.http.open_streams:
            self.active = False
            self.deadline = now + idle
        if now < self.deadline:
            return self.deadline
        self.drain()
        return None


class Opening:
    """A connection that is being made, and the requests that wait for it."""

    __slots__ = ("endpoint", "waiting", "worker")

    def __init__(self, worker: Worker, endpoint: Member) -> None:
        self.worker = worker
        self.endpoint = endpoint
        self.waiting: list[Exchange] = []

    async def open(self) -> None:
        """Make the connection, and let those who wait go on, whatever becomes of it."""
        endpoint = self.endpoint
        error: OSError | None = None
        try:
            async with asyncio.timeout(endpoint.cluster.settings.connect_timeout):
                _, upstream = await self.worker.connect(
                    lambda: Http2Upstream(self.worker, endpoint), endpoint.host, endpoint.port
                )
        except OSError as failed:
            error = failed
        else:
            if upstream.transport.is_closing():
                error = ConnectionResetError()
            elif endpoint.users:
                endpoint.shared.append(upstream)
        endpoint.opening = None
        waiting = [exchange for exchange in self.waiting if exchange.waits]
        for exchange in waiting:
            if error is not None:
                exchange.connect_failed(endpoint, error)
            else:
                self.admit(exchange, upstream)
        if error is None and not endpoint.users:
            upstream.drain()

    def admit(self, exchange: Exchange, upstream: Http2Upstream) -> None:
        """Let a request through, or have it wait for the next connection."""
        if upstream.has_room():
            upstream.begin(exchange)
            exchange.down.release(CONNECTING)
        else:
            join(self.worker, self.endpoint, exchange)


def join(worker: Worker, endpoint: Member, exchange: Exchange) -> None:
    """Have a request wait for a connection that is being made, or made for it."""
    opening = endpoint.opening
    if opening is None:
        opening = endpoint.opening = Opening(worker, endpoint)
        worker.tasks.spawn(opening.open(), "connect")
    opening.waiting.append(exchange)
