"""A request's stream on an HTTP/2 connection to an endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waypoint.holds import DOWNSTREAM
from waypoint.http2.wire import Credit
from waypoint.layers.headers import Field
from ztunnel_compat.h2.codes import ErrorCode
from ztunnel_compat.h2.streams import Stream

if TYPE_CHECKING:
    from waypoint.exchange import Exchange
    from waypoint.http2.upstream import Http2Upstream


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
        if not conn.flushing:
            conn.flush_soon()
        if queued and queued > conn.http.queue_high and not self.paused and not end:
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
