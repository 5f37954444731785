"""Requests of the waypoint's own: what a filter asks a cluster before it decides.

They go the way of clients' requests: balanced, over pooled connections, by HBONE where
that is how the endpoint is reached, and with outlier detection.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from waypoint.clusters import Cluster
from waypoint.errors import InquiryError
from waypoint.exchange import Exchange
from waypoint.layers.headers import Field
from waypoint.layers.response import ResponseHead, response_of
from waypoint.messages import Request
from waypoint.plan import inner_plan
from waypoint.replies import Answer
from waypoint.unconnected import Unconnected

if TYPE_CHECKING:
    from waypoint.worker import Caller, Worker

#: Bytes of an answer at most.
LIMIT = 1024 * 1024


class Answered(NamedTuple):
    """A response to an inquiry; fields, trailers: names in lower case."""

    status: int
    fields: tuple[Field, ...]
    body: bytes
    trailers: tuple[Field, ...]


class Inquirer(Unconnected):
    """The client's side of an inquiry: collects the response."""

    __slots__ = ("body", "done", "head", "last", "limit")

    def __init__(self, caller: Caller, done: asyncio.Future[Answered], limit: int) -> None:
        super().__init__(caller)
        self.done = done
        self.limit = limit
        self.head: ResponseHead | None = None
        self.body = bytearray()
        self.last: tuple[Field, ...] = ()

    def whole(self, exchange: Exchange, head: ResponseHead, data: bytes, length: int) -> bool:
        """Take all of it."""
        self.head = head
        self.data(data[length:], end=True)
        return True

    def respond(
        self, exchange: Exchange, head: ResponseHead, first: bytes, *, raw: bool
    ) -> None:
        """Take the head."""
        self.head = head
        self.data(first)

    def respond_end(self, exchange: Exchange, head: ResponseHead) -> None:
        """Take all of it."""
        self.head = head

    def data(self, data: bytes, *, end: bool = False) -> None:
        """Take content, as much as may be."""
        self.body += data
        if len(self.body) > self.limit:
            self.fail(f"the answer has more than {self.limit} bytes")

    def trailers(self, fields: list[Field]) -> None:
        """Take the trailers."""
        self.last = tuple(fields)

    def answer(self, exchange: Exchange, answer: Answer) -> bool:
        """No endpoint answered."""
        self.fail(answer.body.decode("utf-8", "replace").strip() or f"status {answer.status}")
        return True

    def cut(self, *, code: int) -> None:
        """The response broke off."""
        self.fail("the answer broke off")

    def fail(self, reason: str) -> None:
        """There is no answer."""
        if not self.done.done():
            self.done.set_exception(InquiryError(reason))

    def finished(self, *, keep: bool) -> None:
        """The exchange is over: so is the wait."""
        if self.done.done():
            return
        if self.head is None:
            self.fail("no answer came")
            return
        fields = response_of(self.head).fields
        self.done.set_result(Answered(self.head.status, fields, bytes(self.body), self.last))


async def inquire(
    worker: Worker,
    caller: Caller,
    cluster: Cluster,
    request: Request,
    body: bytes = b"",
    *,
    seconds: float,
    http2: bool | None = None,
    limit: int = LIMIT,
) -> Answered:
    """Ask a cluster. Raises InquiryError when no answer came within so many seconds.

    caller: on whose behalf; http2: what is spoken where the cluster doesn't say.
    """
    if body:
        length = (b"content-length", b"%d" % len(body))
        request = request._replace(fields=(*request.fields, length))
    done: asyncio.Future[Answered] = worker.loop.create_future()
    side = Inquirer(caller, done, limit)
    plan = inner_plan(request, cluster, len(body), http2=bool(http2))
    exchange = Exchange(worker, side, plan)
    try:
        async with asyncio.timeout(seconds):
            exchange.start(body, complete=True)
            return await done
    except TimeoutError:
        raise InquiryError(f"no answer within {seconds:g} s") from None
    finally:
        exchange.downstream_lost()
