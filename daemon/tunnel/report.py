"""What is said of one tunnelled connection: metrics, and a line in the access log."""

from __future__ import annotations

import time
from collections.abc import Callable

from daemon.telemetry.tunnels import Address, Ends, Line, Live, Moved, Tunnels
from daemon.tunnel.errors import ResponseFlag
from ztunnel_compat.istio_labels import Labels


class Report:
    """One end's of one connection, from when it is asked for; clock: seconds.

    ends: who is at the ends, labels: the same for metrics (``ends.labels()``, which may
    serve many connections). source: the client's address; destination: what its TCP
    goes to or came to, port 15008 mostly; target: the CONNECT's authority.
    """

    __slots__ = (
        "clock", "destination", "ends", "labels", "live", "over", "source", "started",
        "target", "tunnels",
    )  # fmt: skip

    def __init__(
        self,
        tunnels: Tunnels,
        ends: Ends,
        labels: Labels,
        *,
        source: Address,
        destination: Address,
        target: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tunnels = tunnels
        self.ends = ends
        self.labels = labels
        self.source = source
        self.destination = destination
        self.target = target
        self.clock = clock
        self.started = clock()
        self.live: Live | None = None
        self.over = False

    def opened(self, mover: Moved) -> None:
        """The application at the far end took the connection."""
        self.live = self.tunnels.opened(self.labels, mover, self.clock() - self.started)

    def ended(self, error: str = "", flag: ResponseFlag = ResponseFlag.CONNECT) -> None:
        """It is over, or there never was one; error: what broke it, or empty.

        flag: of a connection that didn't come about; one that did has none.
        """
        if self.over:
            return
        self.over = True
        moved = (0, 0)
        # Who reports is whose bytes are counted: neither may be left holding the other.
        live, self.live = self.live, None
        if live is not None:
            moved = live.mover.moved
            self.tunnels.closed(live)
            flag = ResponseFlag.NONE
        else:
            self.tunnels.failed(self.labels, flag)
        self.tunnels.tell(
            Line(
                self.ends,
                self.source,
                self.destination,
                self.target,
                moved,
                int((self.clock() - self.started) * 1000),
                flag,
                error,
            )
        )
