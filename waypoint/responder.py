"""What an exchange writes to a client by HTTP/1.1."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from waypoint.access_log import NO_REQUEST
from waypoint.errors import MessageError
from waypoint.handshake import accept_line
from waypoint.layers.headers import CHUNKED, UNTIL_CLOSE, Field
from waypoint.layers.render import UPGRADE_LINES, chunk, last_chunk, response_wire
from waypoint.layers.response import ResponseHead, closing, response_of
from waypoint.record import log_refusal
from waypoint.replies import Answer, local_reply, plain_answer
from waypoint.worker import Caller, Worker

if TYPE_CHECKING:
    from waypoint.exchange import Exchange


class Responder(asyncio.Protocol):
    """The writing half of a client's connection: responses, one after the other."""

    __slots__ = ("chunking", "close_after", "framed", "transport", "tunnelled", "worker")

    transport: asyncio.Transport
    #: Chunks may go through it as they are.
    raw = True
    logged = True

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.close_after = False
        #: Whether the current response's body is put into chunks here, and whether it
        #: shows where it ends (else it ends by a close).
        self.chunking = False
        self.framed = True
        #: Bytes that came after an upgrade; -1: there was none.
        self.tunnelled = -1

    def keeps(self, exchange: Exchange) -> bool:
        """Whether the connection may have another request after this one.

        Not while the body of this one is still to come: nobody waits for it any
        more, and what comes could be it or a request.
        """
        if self.close_after or self.worker.draining or exchange.tunnel:
            return False
        return exchange.complete and exchange.plan.keep_alive

    def interim(self, head: ResponseHead) -> None:
        """Write a 1xx response."""
        self.transport.write(self.wire(head, bodiless=True))

    def wire(self, head: ResponseHead, *, bodiless: bool) -> bytes:
        """A head in HTTP/1.1, made when it is first asked for; bodiless: to HEAD."""
        if not head.forward:
            head.forward = response_wire(response_of(head), head.body, bodiless=bodiless)
        return head.forward

    def whole(self, exchange: Exchange, head: ResponseHead, data: bytes, length: int) -> bool:
        """Write a whole response, its first length bytes the head; whether keeps()."""
        if head.verbatim and self.keeps(exchange):
            self.transport.write(data)
            return True
        forward = self.wire(head, bodiless=exchange.plan.is_head)
        if self.keeps(exchange):
            self.transport.write(forward + data[length:])
            return True
        self.transport.write(closing(forward) + data[length:])
        return False

    def respond(
        self, exchange: Exchange, head: ResponseHead, first: bytes, *, raw: bool
    ) -> None:
        """Write a final response's head and the start of its body; raw: that comes in
        HTTP/1.1's framing.
        """
        is_head = exchange.plan.is_head
        forward = self.wire(head, bodiless=is_head)
        self.framed = is_head or head.body != UNTIL_CLOSE
        self.chunking = not raw and not is_head and head.body == CHUNKED
        if not self.framed or not self.keeps(exchange):
            self.close_after = True
            forward = closing(forward)
        if first:
            forward += chunk(first) if self.chunking else first
        self.transport.write(forward)

    def respond_end(self, exchange: Exchange, head: ResponseHead) -> None:
        """Write a final response that has nothing but a head."""
        self.respond(exchange, head, b"", raw=False)

    def data(self, data: bytes, *, end: bool = False) -> None:
        """Write content; end: there is no more, and no trailers."""
        if self.chunking:
            data = chunk(data) if data else b""
            if end:
                data += last_chunk()
        if data:
            self.transport.write(data)
        if end and self.tunnelled >= 0:
            self.transport.write_eof()

    def trailers(self, fields: list[Field]) -> None:
        """Write trailers, for which there is only room behind chunks."""
        if self.chunking:
            self.transport.write(last_chunk(fields))

    def accept(self, exchange: Exchange, head: ResponseHead) -> None:
        """Write that the protocol changes."""
        response = response_of(head)
        lines = [name + b": " + value + b"\r\n" for name, value in response.fields]
        lines.append(accept_line(exchange.plan.head.request, response))
        start = b"HTTP/1.1 101 Switching Protocols\r\n" + UPGRADE_LINES
        self.transport.write(start + b"".join(lines) + b"\r\n")
        self.close_after = True
        self.chunking = False
        self.framed = False
        self.tunnelled = 0

    def complain(self, caller: Caller, error: MessageError) -> None:
        """Answer what is no sound request."""
        reason = f"{error}\n".encode("latin-1", "replace")
        reply, size = local_reply(plain_answer(error.status, reason))
        log_refusal(self.worker, caller, NO_REQUEST, error, size)
        self.transport.write(reply)

    def answer(self, exchange: Exchange, answer: Answer) -> bool:
        """Write an answer of our own, whole; whether keeps()."""
        keep = self.keeps(exchange)
        reply, _ = local_reply(answer, close=not keep, with_body=not exchange.plan.is_head)
        self.transport.write(reply)
        return keep
