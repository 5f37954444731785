"""How often a peer may send what costs it nothing and us something.

Each kind has an allowance that time refills; some are given more as useful work is
done. Beyond it the connection ends with ENHANCE_YOUR_CALM: CVE-2019-9511 to 9518
(floods of PING, RST_STREAM, SETTINGS, empty frames, PRIORITY), CVE-2023-44487 (rapid
reset), CVE-2024-27316 (CONTINUATION), CVE-2025-8671 (resets that we are made to send).
"""

from __future__ import annotations

from collections.abc import Callable

from ztunnel_compat.h2.codes import ErrorCode
from ztunnel_compat.h2.errors import ConnectionFault

#: Informational responses to one request.
MAX_INFORMATIONAL = 16
#: CONTINUATION frames of one header block.
MAX_CONTINUATIONS = 64
#: Bytes that the peer may cause us to write while it reads none of them.
MAX_CAUSED = 64 * 1024
#: Bytes of header blocks that wait to be written while streams are still opened: a client
#: that reads no responses would have them pile up, a server that reads no requests too.
MAX_HEADS = 1024 * 1024
#: WINDOW_UPDATE frames that a DATA frame of ours may bring about.
UPDATES_PER_DATA = 16
#: What work can add to an allowance, at most.
MAX_GRANT = 100_000


class Allowance:
    """A token bucket; name: what is counted, burst: at once, rate: a second."""

    __slots__ = ("at", "burst", "left", "name", "rate")

    def __init__(self, name: str, burst: int, rate: int) -> None:
        self.name = name
        self.burst = burst
        self.rate = rate
        self.left: float = burst
        self.at = 0.0

    def spend(self, now: float) -> None:
        """Count one at a moment (seconds); raises ConnectionFault when none is left."""
        if self.left < self.burst:
            self.left = min(self.burst, self.left + (now - self.at) * self.rate)
            if self.left < 1:
                raise ConnectionFault(
                    ErrorCode.ENHANCE_YOUR_CALM,
                    f"more {self.name} than {self.burst} at once and {self.rate} a second",
                )
        self.at = now
        self.left -= 1


class Limits:
    """The allowances of one connection."""

    __slots__ = ("clock", "idle", "pings", "resets", "settings", "strays", "updates")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        # gRPC measures bandwidth with PINGs, one a round trip.
        self.pings = Allowance("PING frames", 1000, 1000)
        self.settings = Allowance("SETTINGS frames", 100, 10)
        #: Streams that the peer opened in vain: reset before an answer, refused, broken.
        self.resets = Allowance("streams reset early, refused or broken", 1000, 200)
        self.updates = Allowance("WINDOW_UPDATE frames", 1000, 1000)
        self.idle = Allowance("empty, unknown and PRIORITY frames", 1000, 1000)
        # Both ends may reset a stream at once, so that these are common.
        self.strays = Allowance("RST_STREAM frames of ended streams", 10_000, 10_000)
        now = clock()
        for name in self.__slots__[1:]:
            getattr(self, name).at = now

    def sent_data(self) -> None:
        """A DATA frame went out: updates may come back for it."""
        if self.updates.left < MAX_GRANT:
            self.updates.left += UPDATES_PER_DATA
