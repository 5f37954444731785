"""A node daemon for tests: it acknowledges every pod and says that it is ready.

What it was told is in a file beside the ZDS socket: a JSON object of pods by uid.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from aiohttp import web

from ztunnel_compat.drivers.zds_client import ZdsClient
from ztunnel_compat.zds import AddWorkload


class Handler:
    def __init__(self, record: Path) -> None:
        self.record = record
        self.pods: dict[str, list[object]] = {}
        self.write()

    def write(self) -> None:
        scratch = self.record.with_suffix(".tmp")
        scratch.write_text(json.dumps(self.pods))
        scratch.replace(self.record)

    async def add(self, workload: AddWorkload, netns_fd: int) -> str:
        inode = os.fstat(netns_fd).st_ino
        self.pods[workload.uid] = [workload.namespace, workload.name, inode]
        self.write()
        return ""

    async def remove(self, uid: str) -> None:
        self.pods.pop(uid, None)
        self.write()

    async def snapshot_sent(self, kept: frozenset[str]) -> None:
        self.pods = {uid: pod for uid, pod in self.pods.items() if uid in kept}
        self.write()


async def ready(_request: web.Request) -> web.Response:
    return web.Response()


async def main() -> None:
    path = Path(os.environ["ZDS_PATH"])
    client = ZdsClient(path, Handler(path.with_name("enrolled.json")))
    app = web.Application()
    app.router.add_get("/healthz/ready", ready)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 15021).start()
    await client.run()


if __name__ == "__main__":
    asyncio.run(main())
