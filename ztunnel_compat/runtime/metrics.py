"""Metrics for Prometheus on port 15020, as ztunnel has them.

``/metrics`` and ``/stats/prometheus`` are the same. Rendering runs in a thread:
ten thousand series are a tenth of a second's work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from aiohttp import web
from prometheus_client.core import Metric

from ztunnel_compat.runtime.errors import ListenError
from ztunnel_compat.runtime.exposition import CONTENT_TYPE, exposition

METRICS_PORT: Final = 15020

#: Makes families, or their text; runs in a thread, so it may only read what nobody writes.
Families = Callable[[], Iterable[Metric | bytes]]
#: Brings what it knows up to date in the event loop, and hands over the rest.
Source = Callable[[], Awaitable[Families]]


class MetricsServer:
    """One listener; sources may be added at any time.

    Scrapes that come together wait for each other: one thread at most renders.
    """

    def __init__(self, port: int = METRICS_PORT) -> None:
        self.port = port
        self.sources: list[Source] = []
        self.runner: web.AppRunner | None = None
        self.turn = asyncio.Lock()

    async def start(self) -> None:
        """Listen on every address; raises ListenError."""
        app = web.Application()
        app.router.add_get("/metrics", self.scrape)
        app.router.add_get("/stats/prometheus", self.scrape)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        try:
            await web.TCPSite(self.runner, None, self.port).start()
        except OSError as error:
            raise ListenError(
                f"can't listen on port {self.port} in this network namespace: "
                f"{error.strerror}; is another one of us running here?"
            ) from error

    async def close(self) -> None:
        """Stop listening."""
        if self.runner is not None:
            await self.runner.cleanup()

    async def scrape(self, _request: web.Request) -> web.Response:
        """Everything, in the text format that every scraper takes."""
        async with self.turn:
            parts = [await source() for source in self.sources]
            text = await asyncio.to_thread(render, parts)
        return web.Response(body=text, headers={"content-type": CONTENT_TYPE})


def render(parts: Iterable[Families]) -> bytes:
    """All families of all parts as text."""
    return exposition(metric for part in parts for metric in part())
