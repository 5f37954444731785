"""Responses at a rate: as Envoy does it, a twentieth of a second's bytes at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from waypoint.filters.taps import Taps
from waypoint.layers.headers import Field
from waypoint.layers.response import ResponseHead

#: Seconds between two portions.
INTERVAL = 0.05
#: Bytes that wait here before the endpoint has to; half of them, and it may go on.
MOST = 64 * 1024


def portion(rate: int) -> int:
    """Bytes of one interval, at so many a second."""
    return max(1, int(rate * INTERVAL))


class Waiting:
    """Bytes in the order in which they came: pure."""

    __slots__ = ("length", "pieces")

    def __init__(self) -> None:
        self.pieces: deque[bytes] = deque()
        self.length = 0

    def add(self, data: bytes) -> None:
        """Add to the end."""
        if data:
            self.pieces.append(data)
            self.length += len(data)

    def take(self, most: int) -> bytes:
        """The first of them, so many at most."""
        taken: list[bytes] = []
        while self.pieces and most > 0:
            piece = self.pieces.popleft()
            if len(piece) > most:
                self.pieces.appendleft(piece[most:])
                piece = piece[:most]
            taken.append(piece)
            most -= len(piece)
            self.length -= len(piece)
        return b"".join(taken)


class Paced:
    """The tap: passes so many bytes a second on; what is over waits with the endpoint.

    Heads pass at once, trailers after the bytes before them. closed: is called at the end.
    """

    __slots__ = ("closed", "ended", "last", "portion", "taps", "timer", "waiting")

    def __init__(self, taps: Taps, rate: int, closed: Callable[[], None]) -> None:
        self.taps = taps
        self.portion = portion(rate)
        self.closed = closed
        self.waiting = Waiting()
        self.ended = False
        self.last: list[Field] | None = None
        self.timer: asyncio.TimerHandle | None = None

    def head(self, head: ResponseHead, *, end: bool) -> None:
        """Passes."""
        self.taps.pass_head(self, head, end=end)

    def data(self, data: bytes, *, end: bool) -> None:
        """Waits its turn."""
        self.waiting.add(data)
        self.ended = end
        if self.waiting.length > MOST and not end:
            self.taps.hold(self)
        if self.timer is None:
            self.go_on()

    def trailers(self, fields: list[Field]) -> None:
        """Wait for what came before them."""
        self.ended = True
        self.last = fields
        if self.timer is None:
            self.go_on()

    def close(self) -> None:
        """Nobody waits any more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.waiting = Waiting()
        self.closed()

    def go_on(self) -> None:
        """Pass a portion on; what comes within an interval of it waits."""
        exchange = self.taps.exchange
        self.timer = None
        if exchange.down.paused:
            # The client takes nothing; the time it takes costs it no portion.
            self.rest()
            return
        data = self.waiting.take(self.portion)
        if self.ended and not self.waiting.length:
            self.finish(data)
            return
        if data:
            self.rest()
            self.taps.pass_data(self, data, end=False)
        if self.waiting.length <= MOST // 2:
            self.taps.release(self)

    def rest(self) -> None:
        """Come again after an interval."""
        loop = self.taps.exchange.worker.loop
        self.timer = loop.call_later(INTERVAL, self.go_on)

    def finish(self, data: bytes) -> None:
        """The response ends."""
        last = self.last
        if last is None:
            self.taps.pass_data(self, data, end=True)
            return
        if data:
            self.taps.pass_data(self, data, end=False)
        self.taps.pass_trailers(self, last)
