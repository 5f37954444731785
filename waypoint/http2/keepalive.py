"""Whether an endpoint that says nothing is still there: PINGs that it must answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from waypoint.cluster_settings import Pings

if TYPE_CHECKING:
    from waypoint.http2.upstream import Http2Upstream

PAYLOAD = b"isthere?"


class Pinger:
    """Pings one connection, and breaks it when no answer comes in time."""

    __slots__ = ("conn", "pings", "timer")

    def __init__(self, conn: Http2Upstream, pings: Pings) -> None:
        self.conn = conn
        self.pings = pings
        self.timer: asyncio.TimerHandle | None = None
        self.wait()

    def wait(self) -> None:
        """Ask after the next interval."""
        pings, worker = self.pings, self.conn.worker
        seconds = pings.interval * (1 + pings.jitter_percent / 100 * worker.random())
        self.timer = worker.loop.call_later(seconds, self.ask)

    def ask(self) -> None:
        """Ask now."""
        conn = self.conn
        conn.http.ping(PAYLOAD)
        conn.flush_soon()
        self.timer = conn.worker.loop.call_later(self.pings.timeout, self.lost)

    def answered(self) -> None:
        """It is there."""
        self.stop()
        self.wait()

    def lost(self) -> None:
        """It isn't: whatever is under way has failed."""
        self.conn.worker.stats.keepalive_timeouts += 1
        self.conn.transport.abort()

    def stop(self) -> None:
        """The connection is gone."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
