"""A control process for tests: the control API over a world in a JSON file.

The world: {"pods": [PodSpec…], "services": [ServiceView without endpoints, and
"pods": [names], "targets": {service port: target port}]}. It is read again when
it changed. GET /statuses tells what the runner said.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import time
from pathlib import Path
from typing import Any

from aiohttp import web


class Control:
    def __init__(self, world: Path, nodes: list[str]) -> None:
        self.world = world
        self.nodes = nodes
        self.epoch = secrets.token_hex(4)
        self.statuses: dict[str, Any] = {}
        self.synced: list[str] = []
        self.tokens: list[dict[str, str]] = []
        self.version = 0
        self.content: dict[str, Any] = {"pods": [], "services": []}
        self.text = ""
        self.changed = asyncio.Condition()

    async def bump(self) -> None:
        async with self.changed:
            self.version += 1
            self.changed.notify_all()

    async def follow(self) -> None:
        while True:
            text = self.world.read_text()
            if text != self.text:
                self.text, self.content = text, json.loads(text)
                await self.bump()
            await asyncio.sleep(0.01)

    def service(self, service: dict[str, Any]) -> dict[str, Any]:
        endpoints = []
        uids = {f"{p['namespace']}/{p['name']}": p["uid"] for p in self.content["pods"]}
        for pod in service["pods"]:
            key = f"{service['namespace']}/{pod}"
            status = self.statuses.get(key)
            if status and status["uid"] == uids.get(key):
                endpoints.append(
                    {
                        "pod": pod,
                        "ips": status["ips"],
                        "ready": status["ready"],
                        "ports": service["targets"],
                    }
                )
        return {**service, "endpoints": endpoints}

    async def snapshot(self, request: web.Request) -> web.Response:
        seen = request.query.get("version")
        try:
            async with asyncio.timeout(float(request.query.get("wait", "0"))):
                async with self.changed:
                    await self.changed.wait_for(lambda: str(self.version) != seen)
        except TimeoutError:
            pass
        return web.json_response(
            {
                "version": str(self.version),
                "epoch": self.epoch,
                "settled": set(self.synced) >= set(self.nodes),
                "pods": self.content["pods"],
                "services": [self.service(s) for s in self.content["services"]],
            }
        )

    async def put_status(self, request: web.Request) -> web.Response:
        key = f"{request.match_info['namespace']}/{request.match_info['name']}"
        if key not in {f"{p['namespace']}/{p['name']}" for p in self.content["pods"]}:
            return web.Response(status=404)
        self.statuses[key] = await request.json()
        await self.bump()
        return web.Response(status=204)

    async def sync(self, request: web.Request) -> web.Response:
        self.synced.append((await request.json())["node"])
        await self.bump()
        return web.Response(status=204)

    async def token(self, request: web.Request) -> web.Response:
        self.tokens.append(await request.json())
        token = f"token {len(self.tokens)}"
        return web.json_response({"token": token, "expires": time.time() + 3600})

    async def tell(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {"statuses": self.statuses, "synced": self.synced, "tokens": self.tokens}
        )

    async def healthz(self, _request: web.Request) -> web.Response:
        return web.Response(status=200 if self.text else 503)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--state-dir", type=Path)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--node", action="append")
    arguments, _ = parser.parse_known_args()
    control = Control(arguments.file, [node.partition("=")[0] for node in arguments.node])
    app = web.Application()
    app.router.add_get("/v1/snapshot", control.snapshot)
    app.router.add_put("/v1/pods/{namespace}/{name}/status", control.put_status)
    app.router.add_post("/v1/synced", control.sync)
    app.router.add_post("/v1/tokens", control.token)
    app.router.add_get("/v1/healthz", control.healthz)
    app.router.add_get("/statuses", control.tell)
    runner = web.AppRunner(app)
    await runner.setup()
    socket = arguments.state_dir / "control.sock"
    socket.unlink(missing_ok=True)
    await web.UnixSite(runner, str(socket)).start()
    await control.follow()


if __name__ == "__main__":
    asyncio.run(main())
