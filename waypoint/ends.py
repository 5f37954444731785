"""The two ends that an exchange joins: few calls, the same whatever protocol is spoken.

A client's side is an HTTP/1.1 connection (downstream) or an HTTP/2 stream
(http2.downstream), or nobody's (unconnected); an endpoint's side is an HTTP/1.1 connection
(upstream) or an HTTP/2 stream (http2.upstream).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from waypoint.layers.headers import Field
from waypoint.layers.response import ResponseHead
from waypoint.replies import Answer
from waypoint.worker import Caller

if TYPE_CHECKING:
    from waypoint.exchange import Exchange


class ClientSide(Protocol):
    """Who asked. caller: as the log shows it; raw: takes HTTP/1.1's chunks as they are;
    active: set by whatever moves bytes; paused: takes nothing more for now; logged:
    what it asks for has a line in the access log.
    """

    caller: Caller
    active: bool

    @property
    def raw(self) -> bool:
        """See above."""

    @property
    def logged(self) -> bool:
        """See above."""

    @property
    def paused(self) -> bool:
        """Whether responses wait for the client."""

    def received(self) -> int:
        """Bytes of the request's content so far."""

    def keeps(self, exchange: Exchange) -> bool:
        """Whether its connection may have another request after this exchange."""

    def interim(self, head: ResponseHead) -> None:
        """Write a 1xx response."""

    def whole(self, exchange: Exchange, head: ResponseHead, data: bytes, length: int) -> bool:
        """Write a whole response, its first length bytes the head; whether keeps()."""

    def respond(
        self, exchange: Exchange, head: ResponseHead, first: bytes, *, raw: bool
    ) -> None:
        """Write a final response's head and the start of its body; raw: that comes in
        HTTP/1.1's framing.
        """

    def respond_end(self, exchange: Exchange, head: ResponseHead) -> None:
        """Write a final response that has nothing but a head."""

    def data(self, data: bytes, *, end: bool = False) -> None:
        """Write content; end: there is no more, and no trailers."""

    def trailers(self, fields: list[Field]) -> None:
        """Write trailers, which end the response."""

    def switch(self, exchange: Exchange, head: ResponseHead) -> None:
        """Accept an upgrade: what follows are bytes both ways."""

    def answer(self, exchange: Exchange, answer: Answer) -> bool:
        """Write an answer of our own, whole; whether keeps()."""

    def cut(self, *, code: int) -> None:
        """Break a response off so that the client notices; code: HTTP/2's word for why."""

    def hold(self, why: int) -> None:
        """Take no more of the request for now (see holds)."""

    def release(self, why: int) -> None:
        """One reason less not to."""

    def finished(self, *, keep: bool) -> None:
        """The exchange is over."""


class ServerSide(Protocol):
    """Who answers, once the request's head was sent. silent: nothing came back yet."""

    def data(self, data: bytes, *, end: bool) -> None:
        """Write content of the request; end: there is no more, and no trailers."""

    def trailers(self, fields: list[Field]) -> None:
        """Write trailers, which end the request."""

    def pause(self) -> None:
        """Take no more of the response for now."""

    def resume(self) -> None:
        """Take it again."""

    def detach(self) -> None:
        """Forget the exchange, which is over or goes elsewhere."""

    def close(self) -> None:
        """Forget the exchange, and end what it was for in an orderly way."""

    def abort(self) -> None:
        """Forget the exchange, and break off what is under way."""
