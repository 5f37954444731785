"""A client's HTTP/2 connection: each of its streams is an exchange of its own."""

from __future__ import annotations

import asyncio

from waypoint.access_log import NO_REQUEST_2
from waypoint.errors import MessageError
from waypoint.exchange import Exchange
from waypoint.http2.grpc import GrpcExchange
from waypoint.http2.heads import read_request, response_section, switched_fields
from waypoint.http2.wire import SERVER, Credit, Wire
from waypoint.layers.headers import Field
from waypoint.layers.render import kept_trailers
from waypoint.layers.response import ResponseHead
from waypoint.overload import Level
from waypoint.plan import FOREVER, Keep, Plan
from waypoint.planner import plan_anew
from waypoint.progress import Mark
from waypoint.record import log_refusal
from waypoint.replies import Answer, plain_answer
from waypoint.siblings import Siblings
from waypoint.stalls import look_at_http2
from waypoint.targets import Target
from waypoint.timeouts import idle_too_long
from waypoint.worker import Caller, Worker
from ztunnel_compat.h2.codes import Role, code_of
from ztunnel_compat.h2.fields import Fields
from ztunnel_compat.h2.streams import Stream


class ClientStream(Credit):
    """A stream of a client's: one request."""

    __slots__ = ("active", "caller", "conn", "content", "exchange", "paused")

    #: Chunks have no place in it.
    raw = False
    logged = True

    def __init__(self, conn: Http2Downstream, stream: Stream) -> None:
        self.wire = self.conn = conn
        self.stream = stream
        self.holds = 0
        self.owed = 0
        self.caller = conn.caller
        self.exchange: Exchange | None = None
        self.content = 0
        self.active = False
        #: Its send queue is full.
        self.paused = False

    def received(self) -> int:
        """Bytes of the request's content so far."""
        return self.content

    def keeps(self, exchange: Exchange) -> bool:
        """A connection has other streams: the question is HTTP/1.1's."""
        return True

    def interim(self, head: ResponseHead) -> None:
        """Write a 1xx response."""
        self.conn.http.respond(self.stream, response_section(head))
        self.conn.flush_soon()

    def whole(self, exchange: Exchange, head: ResponseHead, data: bytes, length: int) -> bool:
        """Write a whole response, its first length bytes HTTP/1.1's head."""
        section = head.section or response_section(head)
        if len(data) == length:
            self.conn.http.respond(self.stream, section, end=True)
        else:
            self.conn.http.respond(self.stream, section)
            self.conn.http.send_data(self.stream, data[length:], end=True)
        self.conn.flush_soon()
        return True

    def respond(
        self, exchange: Exchange, head: ResponseHead, first: bytes, *, raw: bool
    ) -> None:
        """Write a final response's head and the start of its body."""
        self.conn.http.respond(self.stream, head.section or response_section(head))
        if first:
            self.data(first)
        elif not self.conn.flushing:
            self.conn.flush_soon()

    def respond_end(self, exchange: Exchange, head: ResponseHead) -> None:
        """Write a final response that has nothing but a head."""
        self.conn.http.respond(self.stream, head.section or response_section(head), end=True)
        self.conn.flush_soon()

    def data(self, data: bytes, *, end: bool = False) -> None:
        """Write content; end: there is no more, and no trailers."""
        conn = self.conn
        queued = conn.http.send_data(self.stream, data, end=end)
        if not conn.flushing:
            conn.flush_soon()
        if queued and queued > conn.http.queue_high and not self.paused and not end:
            self.paused = True
            if self.exchange is not None:
                self.exchange.pause_response()

    def writable(self) -> None:
        """The send queue has room again."""
        self.paused = False
        if self.exchange is not None:
            self.exchange.resume_response()

    def trailers(self, fields: list[Field]) -> None:
        """Write trailers, which end the response."""
        if fields:
            self.conn.http.send_trailers(self.stream, fields)
        else:
            self.conn.http.send_data(self.stream, b"", end=True)
        self.conn.flush_soon()

    def switch(self, exchange: Exchange, head: ResponseHead) -> None:
        """Accept an extended CONNECT: DATA is what goes through it."""
        self.conn.http.respond(self.stream, switched_fields(head))
        self.conn.flush_soon()

    def answer(self, exchange: Exchange, answer: Answer) -> bool:
        """Write an answer of our own, whole."""
        with_body = not exchange.plan.is_head and answer.status not in {204, 304}
        self.say(answer, with_body=with_body)
        return True

    def say(self, answer: Answer, *, with_body: bool = True) -> None:
        """Write an answer."""
        http = self.conn.http
        fields = [(b":status", b"%d" % answer.status), *answer.fields]
        if answer.body:
            fields.insert(1, (b"content-length", b"%d" % len(answer.body)))
        if answer.body and with_body:
            http.respond(self.stream, fields)
            http.send_data(self.stream, answer.body, end=True)
        else:
            http.respond(self.stream, fields, end=True)
        self.conn.flush_soon()

    def cut(self, *, code: int) -> None:
        """Break a response off."""
        self.conn.http.reset(self.stream, code_of(code))
        self.conn.flush_soon()

    def finished(self, *, keep: bool) -> None:
        """The exchange is over."""
        self.exchange = None
        self.holds = 0


class Http2Downstream(Wire):
    """One client's connection."""

    __slots__ = ("caller", "marks", "number", "target")

    def __init__(self, worker: Worker, caller: Caller, target: Target) -> None:
        super().__init__(worker, Role.SERVER, SERVER)
        self.caller = caller
        #: The kernel's name of what was asked for, and what it meant last.
        self.number = caller.peer.target
        self.target = target
        #: How far streams had come, by stream and whether it is the response: see stalls.
        self.marks: dict[tuple[int, bool], Mark] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to take requests."""
        worker = self.worker
        worker.downstreams.add(self)
        worker.stats.connections += 1
        now = worker.time()
        self.deadline = now + worker.limits.idle
        worker.wheel.set(self, min(self.deadline, now + worker.limits.look))
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over: so is what it asked for."""
        self.worker.downstreams.discard(self)
        super().connection_lost(exc)

    # Requests

    def current_target(self) -> Target:
        """The target as it is now: a push applies to the next request."""
        targets = self.worker.targets
        target = targets.by_hash.get(self.number) or targets.find(self.caller.peer)
        if target is not None:
            self.target = target
        if targets.leaving and self.number in targets.leaving:
            # The client's next connection goes the way that is in force now.
            self.drain()
        return self.target

    def on_request(self, stream: Stream, headers: Fields, end: bool) -> None:
        """Start an exchange."""
        targets = self.worker.targets
        target = targets.by_hash.get(self.number)
        if target is None or targets.leaving:
            target = self.current_target()
        else:
            self.target = target
        plans: list[Plan | None] | None = headers.note
        if plans is None:
            plans = headers.note = [None, None]
        plan = plans[end]
        client = stream.data = ClientStream(self, stream)
        if (
            plan is None
            or plan.target is not target
            or (plan.until != FOREVER and plan.until <= self.worker.time())
        ):
            try:
                plan = self.plan(headers, target, end=end)
            except MessageError as error:
                self.refuse(client, error)
                return
            if plan.keep is not Keep.NOBODY:
                plans[end] = plan
        worker = self.worker
        kind = GrpcExchange if plan.grpc and not plan.head.upgrade else Exchange
        exchange = client.exchange = kind(worker, client, plan)
        if worker.active >= worker.room:
            exchange.shed(complete=end)
            self.warn()
        else:
            exchange.start(b"", complete=end)

    def plan(self, headers: Fields, target: Target, *, end: bool) -> Plan:
        """What happens to a request; raises MessageError."""
        now = self.worker.time()
        family = headers.family
        siblings: Siblings | None = None
        if family is not None:
            if family.note is None:
                family.note = Siblings(), Siblings()
            siblings = family.note[end]
            path = headers[family.place][1]
            plan = siblings.plan(path, target, self.caller.source, now, None)
            if plan is not None:
                return plan
        head = read_request(headers, end=end)
        return plan_anew(self.worker, self.caller, head, target, siblings, http2=True)

    def refuse(self, client: ClientStream, error: MessageError) -> None:
        """Answer what HTTP/1.1 couldn't say, or nobody here serves."""
        answer = plain_answer(error.status, f"{error}\n".encode("latin-1", "replace"))
        log_refusal(self.worker, self.caller, NO_REQUEST_2, error, len(answer.body))
        client.say(answer)

    def on_response(self, stream: Stream, headers: Fields, end: bool) -> None:
        """Servers get none."""

    def on_data(self, stream: Stream, data: bytes, end: bool) -> None:
        """Pass content on at once."""
        client: ClientStream = stream.data
        exchange = client.exchange
        if exchange is not None:
            size = len(data)
            client.content += size
            exchange.request_data(data, end=end)
            client.passed(size)
        elif data:
            self.http.consumed(stream, len(data))

    def on_trailers(self, stream: Stream, headers: Fields) -> None:
        """The request ends with trailers."""
        exchange: Exchange | None = stream.data.exchange
        if exchange is not None:
            exchange.request_trailers(kept_trailers(headers))

    def on_reset(self, stream: Stream, code: int) -> None:
        """The client wants no answer any more, or can't have one."""
        client: ClientStream | None = stream.data
        exchange = client.exchange if client is not None else None
        if exchange is None:
            return
        if self.http.closed:
            exchange.downstream_lost()
        elif self.http.broken(stream):
            exchange.downstream_lost("DPE", "http2.violation.of.messaging.rule")
        else:
            exchange.downstream_lost("DR", "http2.remote_reset")

    def on_writable(self, stream: Stream) -> None:
        """The stream's queue has room again."""
        stream.data.writable()

    def on_goaway(self, last_stream: int, code: int) -> None:
        """The client makes no more requests."""

    # Ends

    def forget(self) -> None:
        """Drop what is remembered of routes, which have changed."""
        self.http.forget()

    def warn(self) -> None:
        """Tell the client to make its next requests elsewhere."""
        self.http.goaway()
        self.flush_soon()

    def drain(self) -> None:
        """Close as soon as no exchange is under way."""
        self.warn()

    def due(self, now: float) -> float | None:
        """Time out, when nothing has moved for long enough."""
        limits = self.worker.limits
        if now < self.deadline:
            if self.worker.level is not Level.CALM and self.active:
                self.active = False
                self.deadline = min(self.deadline, now + limits.idle * self.worker.scale)
            look_at_http2(self, now)
            return min(self.deadline, now + limits.look)
        if self.active:
            self.active = False
            self.deadline = now + limits.idle * self.worker.scale
            return min(self.deadline, now + limits.look)
        for stream in list(self.http.streams.values()):
            exchange: Exchange | None = stream.data.exchange
            if exchange is not None:
                idle_too_long(exchange)
        if self.http.draining:
            self.transport.abort()
            return None
        self.drain()
        self.deadline = now + limits.linger
        return self.deadline
