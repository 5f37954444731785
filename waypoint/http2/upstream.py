"""HTTP/2 connections to endpoints, which requests share."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from waypoint.access_log import upstream_part
from waypoint.holds import CONNECTING
from waypoint.http2.call import Call
from waypoint.http2.heads import read_response
from waypoint.http2.keepalive import PAYLOAD, Pinger
from waypoint.http2.wire import Wire, client_settings
from waypoint.layers.headers import FIELD_LIMIT, Field
from waypoint.layers.render import kept_trailers
from waypoint.layers.response import ResponseHead
from waypoint.member import Member
from waypoint.replies import BROKEN, NO_UPGRADE, REFUSED, RESET, TERMINATED
from waypoint.resilience.breakers import Resource
from waypoint.sockets import keep_alive, show_address
from waypoint.upstream import give_up
from waypoint.worker import Worker
from ztunnel_compat.h2.codes import ErrorCode, Role
from ztunnel_compat.h2.fields import Fields
from ztunnel_compat.h2.streams import Stream

if TYPE_CHECKING:
    from waypoint.clusters import Cluster
    from waypoint.exchange import Exchange


class Http2Upstream(Wire):
    """One connection to an endpoint."""

    __slots__ = (
        "begun", "cluster", "draining", "endpoint", "ends", "gone", "local", "part",
        "pinger", "served", "waiting",
    )  # fmt: skip

    def __init__(self, worker: Worker, endpoint: Member) -> None:
        http = endpoint.cluster.settings.http
        super().__init__(worker, Role.CLIENT, client_settings(http))
        self.endpoint = endpoint
        #: Requests that were sent, and when it takes no more of them.
        self.begun = 0
        self.ends = http.end(worker.time())
        self.pinger: Pinger | None = None
        self.draining = False
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
        settings = self.endpoint.cluster.settings
        keep_alive(self.transport, settings.keepalive)
        if settings.http.pings is not None:
            self.pinger = Pinger(self, settings.http.pings)
        self.deadline = self.worker.time() + self.idle
        self.worker.wheel.set(self, min(self.deadline, self.ends))

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
        if self.pinger is not None:
            self.pinger.stop()
            self.pinger = None
        super().connection_lost(exc)
        give_up(self.worker, self.endpoint)
        waiting, self.waiting = self.waiting, []
        for exchange in waiting:
            if not exchange.over:
                exchange.upstream_failed(REFUSED)
        join_again(self.worker, self.endpoint)

    def leave(self) -> None:
        """Take no more requests."""
        endpoint = self.endpoint
        if self in endpoint.shared:
            endpoint.shared.remove(self)
            if not endpoint.shared:
                join_again(self.worker, endpoint)

    def has_room(self) -> bool:
        """Whether another request may be sent."""
        most = self.endpoint.cluster.settings.http.streams
        return (
            self.http.can_open
            and not self.transport.is_closing()
            and (most is None or self.http.open_streams < most)
        )

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
        section = way.section or way.http2()
        body = exchange.pending
        end = exchange.complete and not plan.head.upgrade
        last = end and not body and not exchange.trailers
        unique = None
        if plan.needs_id:
            exchange.request_id = identifier = self.worker.ids.next()
            unique = b"x-request-id", identifier.encode()
        stream = self.http.open(section, end=last, unique=unique)
        call = exchange.up = stream.data = Call(self, stream, exchange)
        if not self.flushing:
            self.flush_soon()
        self.begun += 1
        if body:
            call.data(body, end=end and not exchange.trailers)
        if end and exchange.trailers:
            call.trailers(exchange.trailers)
        exchange.begun()
        if self.begun == self.endpoint.cluster.settings.http.max_requests:
            self.drain()

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
        if len(headers) > FIELD_LIMIT + 1:
            self.http.reset(stream, ErrorCode.ENHANCE_YOUR_CALM)
            exchange.upstream_failed(BROKEN)
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
                # The stream is over: nobody needs credit for it.
                call.exchange = exchange.up = None
                exchange.respond_last(data, call.content)
                return
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
        """Take no more requests, and close after those under way.

        GOAWAY goes out at the end: to some servers it is the end of everything.
        """
        self.leave()
        self.draining = True
        self.flush_soon()

    def due(self, now: float) -> float | None:
        """Take no more when idle, or there, for too long."""
        if self.active or self.http.open_streams:
            self.active = False
            self.deadline = now + self.idle
        if now < self.deadline and now < self.ends:
            return min(self.deadline, self.ends)
        self.drain()
        return None

    @property
    def idle(self) -> float:
        """Seconds that it may be kept without a request."""
        return self.endpoint.cluster.settings.http.idle(self.worker.limits.upstream_idle)

    def on_pong(self, payload: bytes) -> None:
        """The endpoint is there."""
        if self.pinger is not None and payload == PAYLOAD:
            self.pinger.answered()

    def flush(self) -> None:
        """Write, and have those go on that waited for a stream."""
        queue = self.endpoint.queue
        while queue and self in self.endpoint.shared and self.has_room():
            exchange = queue.popleft()
            if exchange.waits:
                self.begin(exchange)
                exchange.down.release(CONNECTING)
        if self.draining and not self.http.open_streams:
            self.http.goaway()
        super().flush()


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
            give_up(self.worker, endpoint)
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
    """Have a request wait for a connection that is being made, or made for it.

    Where the cluster has as many as it may have, it waits for a stream; but an endpoint
    may always have one connection (Envoy's rule), or its requests could wait for ever.
    """
    opening = endpoint.opening
    if opening is None:
        breaker = endpoint.cluster.breakers.default
        if endpoint.shared and not breaker.has_room(Resource.CONNECTIONS):
            breaker.overflows[Resource.CONNECTIONS] += 1
            endpoint.queue.append(exchange)
            return
        breaker.add(Resource.CONNECTIONS)
        opening = endpoint.opening = Opening(worker, endpoint)
        worker.tasks.spawn(opening.open(), "connect")
    opening.waiting.append(exchange)


def join_again(worker: Worker, endpoint: Member) -> None:
    """There is a connection less: look anew what those can have who wait for a stream."""
    queue, endpoint.queue = endpoint.queue, deque()
    for exchange in queue:
        if exchange.waits:
            join(worker, endpoint, exchange)
