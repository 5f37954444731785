"""What an HBONE connection announces, and its times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ztunnel_compat.h2.settings import KIB, Settings

#: Streams on a connection: what ztunnel's pool opens, and what its server takes.
CLIENT_STREAMS: Final = 100
SERVER_STREAMS: Final = 200
#: The far side may send so much on a stream before anybody here has taken any of it. All
#: streams may hold as much at once: slow readers must not stall the others.
STREAM_WINDOW: Final = 256 * KIB
CLIENT: Final = Settings(stream_window=STREAM_WINDOW, held_limit=CLIENT_STREAMS * STREAM_WINDOW)
SERVER: Final = Settings(
    stream_window=STREAM_WINDOW,
    held_limit=SERVER_STREAMS * STREAM_WINDOW,
    max_streams=SERVER_STREAMS,
    header_list_limit=64 * KIB,
)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. idle: without a stream, before a connection is closed; None: never."""

    ping_every: float = 10.0
    ping_timeout: float = 20.0
    idle: float | None = None


#: A client's connection; a server leaves it to its clients (ztunnel).
POOLED: Final = Timing(idle=300.0)
SERVED: Final = Timing()
