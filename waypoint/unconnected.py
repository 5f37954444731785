"""The client's side of a request that came by no connection: the waypoint's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waypoint.layers.headers import Field
from waypoint.layers.response import ResponseHead
from waypoint.worker import Caller

if TYPE_CHECKING:
    from waypoint.exchange import Exchange


class Unconnected:
    """Takes a response, and drops it; caller: on whose behalf the request goes."""

    __slots__ = ("active", "caller", "paused")

    raw = False
    #: Envoy doesn't log them either.
    logged = False

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.active = False
        self.paused = False

    def received(self) -> int:
        """Nobody asks."""
        return 0

    def keeps(self, exchange: Exchange) -> bool:
        """There is no connection to keep."""
        return True

    def interim(self, head: ResponseHead) -> None:
        """Drop it."""

    def whole(self, exchange: Exchange, head: ResponseHead, data: bytes, length: int) -> bool:
        """Drop it."""
        return True

    def respond(
        self, exchange: Exchange, head: ResponseHead, first: bytes, *, raw: bool
    ) -> None:
        """Drop it."""

    def respond_end(self, exchange: Exchange, head: ResponseHead) -> None:
        """Drop it."""

    def data(self, data: bytes, *, end: bool = False) -> None:
        """Drop it."""

    def trailers(self, fields: list[Field]) -> None:
        """Drop it."""

    def switch(self, exchange: Exchange, head: ResponseHead) -> None:
        """Nobody asked for it."""

    def cut(self, *, code: int) -> None:
        """Drop it."""

    def hold(self, why: int) -> None:
        """There is nobody to hold up."""

    def release(self, why: int) -> None:
        """There is nobody to hold up."""

    def finished(self, *, keep: bool) -> None:
        """The exchange is over."""
