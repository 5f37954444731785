"""What a waypoint's process tells of its metrics: to Prometheus, or to its parent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from waypoint.metrics.families import exposition
from waypoint.metrics.gather import gather
from waypoint.worker import Worker
from ztunnel_compat.runtime import log
from ztunnel_compat.runtime.metrics import Families, MetricsServer, Source

#: Where a parent asks its workers.
PAGE: Final = "/metrics"
#: How long making text may hold up requests.
SLICE_SECONDS: Final = 0.001


def page_of(worker: Worker) -> Callable[[], dict[str, Any]]:
    """The page that a parent asks for."""
    life = time.time_ns()
    return lambda: gather(worker, life, log.dropped()).dump()


def source_of(worker: Worker) -> Source:
    """What Prometheus is told, where this process serves alone."""

    async def source() -> Families:
        text = await sliced(exposition(gather(worker, 0, log.dropped())))
        return lambda: text

    return source


async def sliced(pieces: Iterable[str]) -> list[bytes]:
    """All pieces, made in the loop a millisecond at a time.

    A thread would take the interpreter for five whenever the loop wants it back.
    """
    made = []
    began = time.perf_counter()
    for piece in pieces:
        made.append(piece.encode())
        if time.perf_counter() - began > SLICE_SECONDS:
            await asyncio.sleep(0)
            began = time.perf_counter()
    return made


def metrics_server(source: Source) -> MetricsServer:
    """Port 15020."""
    server = MetricsServer()
    server.sources.append(source)
    return server
