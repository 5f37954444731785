"""A waypoint in a process of its own, which tells what it costs: ``gate.py SETTINGS``.

SETTINGS is JSON: the upstream's port, what it speaks (1 or 2), the port of the one for
``/bystander``, and Limits' fields. The first line out is the port; each line in is answered
by a line of figures.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time

import uvloop

from tests.waypoint.mesh import host, routes, running, service, to
from waypoint.pressure import resident_bytes
from waypoint.worker import Limits
from ztunnel_compat.model import AppProtocol
from ztunnel_compat.runtime.memory import keep_buffers

ROUTES: tuple[dict[str, object], ...] = (
    {"match": {"path": "/bystander"}, "route": to("calm")},
    {"match": {"safeRegex": {"regex": "/(a|a|aa)*b"}}, "directResponse": {"status": 403}},
    {"match": {"prefix": "/"}, "route": to("web")},
)
SPEAKS = {1: AppProtocol.HTTP11, 2: AppProtocol.HTTP2}


async def serve(settings: dict[str, object]) -> None:
    """Serve until the input ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    limits = Limits(**settings.get("limits", {}))  # type: ignore[arg-type]
    async with running(limits) as mesh:
        speaks = SPEAKS[settings["speaks"]]  # type: ignore[index]
        mesh.push(service("calm", mine=False))
        mesh.pod("calm-1", "calm", settings["calm"])  # type: ignore[arg-type]
        mesh.push(service("web", routes("web", host(*ROUTES)), speaks=speaks))
        mesh.pod("web-1", "web", settings["port"])  # type: ignore[arg-type]
        mesh.ask("web")
        print(mesh.port, flush=True)
        looking = 0.0
        while await reader.readline():
            start = time.process_time()
            gc.collect()
            worker = mesh.worker
            figures = {
                "cpu": start - looking,
                "resident": resident_bytes(),
                "active": worker.active,
                "clients": worker.connections,
                "streams": sum(
                    d.http.open_streams for d in worker.downstreams if hasattr(d, "http")
                ),
                "stats": worker.stats.dump(),
            }
            mesh.log.clear()
            print(json.dumps(figures), flush=True)
            looking += time.process_time() - start


if __name__ == "__main__":
    keep_buffers()
    uvloop.run(serve(json.loads(sys.argv[1])))
