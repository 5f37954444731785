"""A connection as a pool sees it."""

from __future__ import annotations

from collections.abc import Callable

from ztunnel_compat.session.pool import ConnectError


class FakeConnection:
    """What the pool sees of a connection."""

    def __init__(self) -> None:
        self.open_streams = 0
        self.heavy = 0
        self.idle_since = 0.0
        self.closed = self.draining = False
        self.failure: ConnectError | None = None
        self.ended: Callable[[], None] = lambda: None

    @property
    def usable(self) -> bool:
        return not self.closed and not self.draining and self.open_streams < 100

    def drain(self) -> None:
        self.draining = True

    def abort(self, why: str) -> None:
        self.closed = True
        self.ended()
