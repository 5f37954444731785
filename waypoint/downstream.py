"""A client's HTTP/1.1 connection: requests in, one after the other, responses out."""

from __future__ import annotations

import asyncio
from typing import cast

from waypoint.errors import MessageError
from waypoint.exchange import Exchange
from waypoint.holds import CONNECTING, FILTERS, PIPELINED, UPSTREAM
from waypoint.layers.body import BodyReader, body_reader
from waypoint.layers.headers import HEAD_LIMIT
from waypoint.layers.http1 import END, find_head
from waypoint.layers.render import kept_trailers
from waypoint.layers.response import ResponseHead
from waypoint.plan import Plan
from waypoint.planner import Planner
from waypoint.progress import Mark
from waypoint.responder import Responder
from waypoint.sockets import reset
from waypoint.stalls import due_http1
from waypoint.targets import Target
from waypoint.worker import Caller, Worker


class Downstream(Responder):
    """One client's connection. At most one exchange is under way; what a client
    sends ahead waits in buffer, up to a limit.
    """

    __slots__ = (
        "active", "advancing", "body", "buffer", "caller", "closed", "deadline", "ended",
        "exchange", "holds", "lingering", "mark", "number", "paused_at", "planner",
        "searched", "target", "tick", "unsent", "write_paused",
    )  # fmt: skip

    def __init__(self, worker: Worker, caller: Caller, target: Target) -> None:
        super().__init__(worker)
        self.caller = caller
        #: The kernel's name of what was asked for, and what it meant last.
        self.number = caller.peer.target
        self.target = target
        self.planner = Planner(worker, caller)
        self.exchange: Exchange | None = None
        #: The current request's body, and whether all of it has come.
        self.body: BodyReader | None = None
        self.ended = True
        self.buffer = bytearray()
        #: How much of the buffer was searched for the end of a head.
        self.searched = 0
        self.holds = 0
        self.write_paused = False
        #: When that began; and how far the request's body has come: see stalls.
        self.paused_at = 0.0
        self.mark: Mark | None = None
        self.lingering = False
        #: Bytes that a closing connection still had to send when last looked at.
        self.unsent = 0
        self.closed = False
        #: Set by whatever moves bytes; the wheel's look clears it.
        self.active = False
        self.advancing = False
        self.deadline = 0.0
        self.tick = 0

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to take requests."""
        self.transport = transport = cast("asyncio.Transport", transport)
        limits = self.worker.limits
        transport.set_write_buffer_limits(high=limits.write_buffer)
        self.worker.downstreams.add(self)
        self.worker.stats.connections += 1
        now = self.worker.time()
        self.deadline = now + limits.idle
        self.worker.wheel.set(self, min(self.deadline, now + limits.look))

    def data_received(self, data: bytes) -> None:
        """Take bytes; a whole head that was seen before needs no parsing."""
        self.active = True
        if not (self.exchange or self.buffer or self.write_paused or self.lingering):
            plan = self.planner.memo(data)
            if plan is None or plan.target is not self.current_target():
                plan = self.plan_of_whole(data)
            if plan is not None:
                self.begin(plan)
                return
        self.receive(data)

    def eof_received(self) -> bool:
        """The client stopped sending: as in Envoy, it is gone; in a tunnel it may listen."""
        exchange = self.exchange
        if exchange is None:
            return False
        if self.tunnelled >= 0:
            exchange.request_data(b"", end=True)
            return True
        exchange.downstream_lost()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over: so is what it asked for."""
        self.closed = True
        self.worker.wheel.remove(self)
        self.worker.downstreams.discard(self)
        if self.exchange is not None:
            self.exchange.downstream_lost()

    def pause_writing(self) -> None:
        """The client reads more slowly than the endpoint sends."""
        self.write_paused = True
        self.paused_at = self.worker.time()
        if self.exchange is not None:
            self.exchange.pause_response()

    def resume_writing(self) -> None:
        """The client caught up."""
        self.write_paused = False
        if self.exchange is not None:
            self.exchange.resume_response()
        else:
            self.advance()
            self.limit_pipeline()

    # Requests

    def current_target(self) -> Target:
        """The target as it is now: a push applies to the next request."""
        targets = self.worker.targets
        target = targets.by_hash.get(self.number) or targets.find(self.caller.peer)
        if target is not None:
            self.target = target
        if targets.leaving and self.number in targets.leaving:
            # The client's next connection goes the way that is in force now.
            self.close_after = True
        return self.target

    def receive(self, data: bytes) -> None:
        """Take bytes that aren't just a head known from before."""
        if self.lingering:
            return
        exchange = self.exchange
        if self.tunnelled >= 0 and exchange is not None:
            self.tunnelled += len(data)
            exchange.request_data(data, end=False)
            return
        if not self.ended and self.body is not None and exchange is not None:
            self.take_body(self.body, exchange, data)
        else:
            self.buffer += data
        self.advance()
        self.limit_pipeline()

    def advance(self) -> None:
        """Begin with what the buffer holds, as long as requests end at once."""
        if self.advancing:
            return
        self.advancing = True
        try:
            while self.is_idle() and self.buffer:
                plan = self.next_plan()
                if plan is None:
                    break
                self.begin(plan)
        except MessageError as error:
            self.refuse(error)
        finally:
            self.advancing = False

    def limit_pipeline(self) -> None:
        """Read on only as long as not too much is waiting."""
        if len(self.buffer) > self.worker.limits.pipelined:
            self.hold(PIPELINED)
        elif self.holds & PIPELINED:
            self.release(PIPELINED)

    def is_idle(self) -> bool:
        """Whether the next request may begin."""
        paused = self.write_paused or self.lingering or self.closed
        return self.exchange is None and not paused

    def next_plan(self) -> Plan | None:
        """Take the next head off the buffer; None when it isn't whole yet."""
        buffer = self.buffer
        while buffer.startswith(b"\r\n"):
            del buffer[:2]
        length = find_head(buffer, self.searched)
        if not length:
            if not self.searched and buffer:
                self.set_deadline(self.worker.limits.head)
            self.searched = len(buffer)
            return None
        self.searched = 0
        self.deadline = self.worker.time() + self.worker.limits.idle
        raw = bytes(buffer[:length])
        del buffer[:length]
        return self.plan(raw)

    def plan_of_whole(self, data: bytes) -> Plan | None:
        """The plan when data is exactly one sound head, as it mostly is."""
        if data.find(END) + 4 != len(data) or data[:1] == b"\r" or len(data) > HEAD_LIMIT:
            return None
        try:
            return self.plan(data)
        except MessageError:
            return None

    def plan(self, raw: bytes) -> Plan:
        """What to do for a head; raises MessageError."""
        return self.planner.plan(raw, self.current_target())

    def begin(self, plan: Plan) -> None:
        """Start an exchange, with as much of the body as came along."""
        worker = self.worker
        exchange = self.exchange = Exchange(worker, self, plan)
        framing = plan.head.body
        if worker.active >= worker.room:
            self.close_after = True
            exchange.shed(complete=not framing)
            return
        if not framing:
            exchange.start(b"", complete=True)
            return
        body = self.body = body_reader(framing, raw=exchange.raw)
        self.ended = False
        first = b""
        if self.buffer:
            data = bytes(self.buffer)
            self.buffer.clear()
            try:
                first = body.feed(data)
            except MessageError:
                self.exchange = None
                self.ended = True
                raise
            self.check_body_end(body)
        if body.trailers and not exchange.raw:
            exchange.trailers = kept_trailers(body.trailers)
        exchange.start(first, complete=self.ended)

    def take_body(self, body: BodyReader, exchange: Exchange, data: bytes) -> None:
        """Pass body bytes on."""
        try:
            passed = body.feed(data)
        except MessageError as error:
            exchange.request_broken(error)
            return
        self.check_body_end(body)
        if self.ended and body.trailers and not exchange.raw:
            if passed:
                exchange.request_data(passed, end=False)
            exchange.request_trailers(kept_trailers(body.trailers))
        else:
            exchange.request_data(passed, end=self.ended)

    def check_body_end(self, body: BodyReader) -> None:
        """When the body is complete, what follows it is the next request."""
        if body.done:
            self.buffer += body.rest
            self.ended = True

    def refuse(self, error: MessageError) -> None:
        """Answer what is no sound request, and close."""
        self.complain(self.caller, error)
        self.shut()

    # For the exchange

    @property
    def paused(self) -> bool:
        """Whether responses wait for the client."""
        return self.write_paused

    def received(self) -> int:
        """Bytes of the request's content so far."""
        if self.tunnelled >= 0:
            return self.tunnelled
        return self.body.data if self.body is not None else 0

    def switch(self, exchange: Exchange, head: ResponseHead) -> None:
        """Accept an upgrade; what the client sent ahead goes through now, not before:
        had the endpoint refused, it would be the next request to somebody.
        """
        self.accept(exchange, head)
        early = bytes(self.buffer)
        self.buffer.clear()
        self.release(PIPELINED)
        if early:
            self.tunnelled = len(early)
            exchange.request_data(early, end=False)

    def finished(self, *, keep: bool) -> None:
        """The exchange is over; keep: the connection may have another one."""
        self.exchange = None
        self.body = None
        self.ended = True
        if self.holds:
            self.release(CONNECTING | UPSTREAM | FILTERS)
        if not keep:
            self.shut()
        elif self.buffer:
            self.advance()
            self.limit_pipeline()

    def hold(self, why: int) -> None:
        """Stop to read."""
        if not self.holds:
            self.transport.pause_reading()
        self.holds |= why

    def release(self, why: int) -> None:
        """Read again, when no other reason is left not to."""
        before = self.holds
        self.holds &= ~why
        if before and not self.holds and not self.closed:
            self.transport.resume_reading()

    def shut(self) -> None:
        """Close in an orderly way: what was written arrives, then the end.

        Closing with unread bytes would reset the connection, and the client
        could lose the response: so say the end first, and go on reading.
        """
        if self.closed or self.lingering:
            return
        self.lingering = True
        self.buffer.clear()
        if self.tunnelled >= 0:
            self.transport.close()
        else:
            self.transport.write_eof()
        self.release(self.holds)
        self.set_deadline(self.worker.limits.linger)

    def cut(self, *, code: int) -> None:
        """Break off a response so that the client notices.

        Where length or chunks show that it isn't whole, what there is may still
        arrive; a response that ends by a close needs a reset instead. The code is for
        protocols that have a word for it.
        """
        self.lingering = True
        if self.framed:
            self.transport.close()
            self.set_deadline(self.worker.limits.linger)
        else:
            reset(self.transport)

    def forget(self) -> None:
        """Drop what is remembered of routes, which have changed."""
        self.planner.forget()

    def warn(self) -> None:
        """The next response says that the connection ends: see keeps."""

    def drain(self) -> None:
        """Close as soon as no exchange is under way."""
        self.close_after = True
        if self.exchange is None and not self.buffer:
            self.shut()

    # Deadlines

    def set_deadline(self, seconds: float) -> None:
        """Be asked sooner than planned."""
        self.deadline = self.worker.time() + seconds
        self.worker.wheel.set(self, self.deadline)

    def due(self, now: float) -> float | None:
        """Time out, when nothing has moved for long enough."""
        return due_http1(self, now)
