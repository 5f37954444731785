"""Endpoints and the connections to each that can take a request."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from waypoint.exchange import Exchange
    from waypoint.http2.upstream import Http2Upstream, Opening
    from waypoint.upstream import Upstream

#: Idle connections kept per endpoint.
IDLE_MOST = 256


class Endpoint:
    """One address and port that requests go to, shared by the clusters it is in.

    idle: HTTP/1.1 connections without a request, the last used at the end (LIFO: a
    connection that just worked is the least likely to have been closed).
    shared: HTTP/2 connections, the first of which that has room gets the next request,
    so that there are no more of them than the requests under way need; queue: requests
    that wait for room on one of them, since there may be no more.
    """

    __slots__ = ("host", "idle", "label", "opening", "port", "queue", "shared", "users")

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        #: As the access log shows it.
        self.label = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.idle: list[Upstream] = []
        self.shared: list[Http2Upstream] = []
        self.queue: deque[Exchange] = deque()
        #: The HTTP/2 connection that is being made, which requests wait for.
        self.opening: Opening | None = None
        #: How many clusters it is in; with none, nothing is kept idle.
        self.users = 0

    def take(self) -> Upstream | None:
        """An idle HTTP/1.1 connection that is still up, or None."""
        idle = self.idle
        while idle:
            upstream = idle.pop()
            if not upstream.transport.is_closing():
                return upstream
        return None

    def share(self) -> Http2Upstream | None:
        """An HTTP/2 connection that takes another stream, or None."""
        for upstream in self.shared:
            if upstream.has_room():
                return upstream
        return None

    def give(self, upstream: Upstream) -> bool:
        """Keep a connection for later; False: no room, or not used any more."""
        if not self.users or len(self.idle) >= IDLE_MOST:
            return False
        self.idle.append(upstream)
        return True

    def forget(self, upstream: Upstream) -> None:
        """A connection is gone."""
        if upstream in self.idle:
            self.idle.remove(upstream)

    def retire(self) -> None:
        """It left its last cluster: close what is idle, let the rest finish."""
        while self.idle:
            self.idle.pop().close()
        for upstream in list(self.shared):
            upstream.drain()
