"""What a process tells about itself, over HTTP.

``:15021/healthz/ready`` for probes; JSON pages on ``127.0.0.1:15000`` for people,
``/config_dump`` among them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from ztunnel_compat.runtime.errors import ListenError

ADMIN_PORT: Final = 15000
READY_PORT: Final = 15021

Dump = Callable[[], dict[str, Any]]


class Admin:
    """Two listeners; not ready until told otherwise.

    unready: what is being waited for, as text; empty when ready. path: a unix socket for
    all of it, in place of ports.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.unready = "starting"
        self.path = path
        self.pages: dict[str, Dump] = {}
        self.runners: list[web.AppRunner] = []

    async def start(self) -> None:
        """Listen; raises ListenError. Pages may be added afterwards."""
        ready = web.Application()
        ready.router.add_get("/healthz/ready", self.healthz)
        if self.path is not None:
            ready.router.add_get("/{page:.*}", self.page)
            runner = await self.runner(ready)
            await web.UnixSite(runner, str(self.path)).start()
            return
        await self.listen(ready, None, READY_PORT)
        admin = web.Application()
        admin.router.add_get("/{page:.*}", self.page)
        await self.listen(admin, "127.0.0.1", ADMIN_PORT)

    async def listen(self, app: web.Application, host: str | None, port: int) -> None:
        """Serve an application; host None is every address."""
        runner = await self.runner(app)
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ListenError(
                f"can't listen on port {port} in this network namespace: {error.strerror}; "
                "is another one of us running here?"
            ) from error

    async def runner(self, app: web.Application) -> web.AppRunner:
        """What serves an application, until ``close``."""
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        self.runners.append(runner)
        return runner

    async def close(self) -> None:
        """Stop listening."""
        for runner in self.runners:
            await runner.cleanup()

    async def healthz(self, _request: web.Request) -> web.Response:
        """200 when ready, else 503 and what is missing."""
        if self.unready:
            return web.Response(status=503, text=f"not ready: {self.unready}\n")
        return web.Response(text="ready\n")

    async def page(self, request: web.Request) -> web.Response:
        """One of the pages as JSON."""
        dump = self.pages.get(request.path)
        if dump is None:
            known = "".join(f"{path}\n" for path in sorted(self.pages))
            return web.Response(status=404, text=f"no such page; there are:\n{known}")
        # Whoever asks at a socket is a program.
        indent = 2 if self.path is None else None
        text = await asyncio.to_thread(json.dumps, dump(), indent=indent)
        return web.json_response(text=text + "\n")
