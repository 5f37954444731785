"""The whole runner: real network namespaces, processes, nftables and DNS."""

from __future__ import annotations

import time
from pathlib import Path

from tests.deploy.standalone.runner.worlds import (
    World,
    get,
    make_config,
    run_in,
    running,
)

CONFIG = make_config("apptest", 160, "node1", "node2")


async def test_smoke(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.server("a")
    world.server("b", node="node2", enrolled=True)
    world.service("web", ["a", "b"], ["10.161.0.20", "fd00:20:161::20"])
    world.write()
    started = time.monotonic()
    async with running(CONFIG, world) as mesh:
        print("up", time.monotonic() - started)
        await mesh.wait_ready()
        print("ready", time.monotonic() - started)
        for _ in range(6):
            print(await run_in(CONFIG, "a", *get("http://web/")))
        print(await run_in(CONFIG, "a", *get("http://[fd00:20:161::20]/")))
        print(await run_in(CONFIG, "a", "cat", "/etc/resolv.conf", "/etc/hosts"))
    print("down", time.monotonic() - started)
