"""What the waypoint tells about itself, over HTTP.

``:15021/healthz/ready`` for probes; ``127.0.0.1:15000/config_dump`` for people.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from waypoint.errors import ListenError

ADMIN_PORT: Final = 15000
READY_PORT: Final = 15021


class Admin:
    """Two listeners; not ready until told otherwise.

    unready: what is being waited for, as text; empty when ready.
    """

    def __init__(self, dump: Callable[[], dict[str, Any]]) -> None:
        self.dump = dump
        self.unready = "starting"
        self.runners: list[web.AppRunner] = []

    async def start(self, ready_port: int = READY_PORT, admin_port: int = ADMIN_PORT) -> None:
        """Listen; raises ListenError."""
        ready = web.Application()
        ready.router.add_get("/healthz/ready", self.healthz)
        await self.listen(ready, None, ready_port)
        admin = web.Application()
        admin.router.add_get("/config_dump", self.config_dump)
        await self.listen(admin, "127.0.0.1", admin_port)

    async def listen(self, app: web.Application, host: str | None, port: int) -> None:
        """Serve an application; host None is every address."""
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        self.runners.append(runner)
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ListenError(
                f"can't listen on port {port} in this network namespace: {error.strerror}; "
                "is another waypoint running here?"
            ) from error

    async def close(self) -> None:
        """Stop listening."""
        for runner in self.runners:
            await runner.cleanup()

    async def healthz(self, _request: web.Request) -> web.Response:
        """200 when ready, else 503 and what is missing."""
        if self.unready:
            return web.Response(status=503, text=f"not ready: {self.unready}\n")
        return web.Response(text="ready\n")

    async def config_dump(self, _request: web.Request) -> web.Response:
        """Everything this waypoint knows, as JSON."""
        text = await asyncio.to_thread(json.dumps, self.dump(), indent=2)
        return web.json_response(text=text + "\n")
