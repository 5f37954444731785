"""What a response goes through on its way back to the client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from waypoint.layers.headers import Field
from waypoint.layers.response import ResponseHead
from waypoint.timeouts import stop_timers

if TYPE_CHECKING:
    from waypoint.exchange import Exchange


class Tap(Protocol):
    """Gets a response piece by piece, and gives it to the pass_… of its Taps, at once or
    later, with itself as the first argument; answers of our own don't go through it.

    While it is behind it holds the endpoint (Taps.hold), lest it fills.
    """

    def head(self, head: ResponseHead, *, end: bool) -> None:
        """The final response's head; end: it has nothing else."""

    def data(self, data: bytes, *, end: bool) -> None:
        """Content; end: there is no more, and no trailers."""

    def trailers(self, fields: list[Field]) -> None:
        """Trailers, which end the response."""

    def close(self) -> None:
        """The exchange is over; nothing more may be passed on."""


class Taps:
    """The taps of one exchange, the one nearest to the endpoint first."""

    __slots__ = ("behind", "exchange", "row")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.row: list[Tap] = []
        #: The taps that hold the endpoint.
        self.behind: set[Tap] = set()

    # From the endpoint

    def head(self, head: ResponseHead, *, end: bool) -> None:
        """The response's head; from here on the request doesn't go again."""
        exchange = self.exchange
        exchange.responded = exchange.worker.time()
        exchange.moved = True
        if end:
            stop_timers(exchange)
        self.row[0].head(head, end=end)

    def data(self, data: bytes, *, end: bool) -> None:
        """Content."""
        if self.row:
            if end:
                stop_timers(self.exchange)
            self.row[0].data(data, end=end)

    def trailers(self, fields: list[Field]) -> None:
        """Trailers."""
        if self.row:
            stop_timers(self.exchange)
            self.row[0].trailers(fields)

    def close(self) -> None:
        """Nothing goes through them any more."""
        row, self.row = self.row, []
        for tap in row:
            tap.close()

    # From a tap

    def hold(self, tap: Tap) -> None:
        """Have the endpoint wait, whether or not the client takes more."""
        self.behind.add(tap)
        self.exchange.pause_response()

    def release(self, tap: Tap) -> None:
        """One reason less to wait."""
        if tap in self.behind:
            self.behind.discard(tap)
            if not self.exchange.down.paused:
                self.exchange.resume_response()

    def after(self, tap: Tap) -> Tap | None:
        """The one after a tap, or None: the client is next."""
        index = self.row.index(tap) + 1
        return self.row[index] if index < len(self.row) else None

    def pass_head(self, tap: Tap, head: ResponseHead, *, end: bool) -> None:
        """Pass a head on."""
        following, exchange = self.after(tap), self.exchange
        if following is not None:
            following.head(head, end=end)
        elif end:
            exchange.finish_head(head)
        else:
            exchange.down.respond(exchange, exchange.took(head), b"", raw=False)

    def pass_data(self, tap: Tap, data: bytes, *, end: bool) -> None:
        """Pass content on."""
        following, exchange = self.after(tap), self.exchange
        if following is not None:
            following.data(data, end=end)
            return
        exchange.moved = exchange.down.active = True
        exchange.sent += len(data)
        exchange.answered = end
        exchange.down.data(data, end=end)
        if end:
            exchange.end(keep=exchange.down.keeps(exchange))

    def pass_trailers(self, tap: Tap, fields: list[Field]) -> None:
        """Pass trailers on."""
        following = self.after(tap)
        if following is not None:
            following.trailers(fields)
        else:
            self.exchange.finish_trailers(fields)
