"""Snapshots become running pods, and changes lose no request."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from pathlib import Path

import pytest

from deploy.standalone.runner import wiring
from deploy.standalone.runner.app import Mesh
from tests.deploy.standalone.runner.worlds import (
    World,
    asking,
    eventually,
    make_config,
    pid_of,
    running,
    status,
)

CONFIG = make_config("fleettest", 168)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_rolling_changes_lose_no_request(world: World) -> None:
    world.pod("client", ["sleep", "600"])
    world.server("one-0")
    world.server("two-0")
    world.service("web", ["one-0", "two-0"], ["10.169.0.20"])
    world.write()
    async with running(CONFIG, world) as mesh:
        await mesh.wait_ready()
        async with asking(CONFIG, "client", "10.169.0.20"):
            for generation in (1, 2):
                for name in ("one", "two"):
                    await roll(mesh, world, f"{name}-{generation - 1}", f"{name}-{generation}")


async def roll(mesh: Mesh, world: World, old: str, new: str) -> None:
    """Add a pod to the service, and take another out once it is ready."""
    world.server(new)
    world.services[0]["pods"].append(new)
    world.write()
    await eventually(lambda: status(CONFIG, new)["ready"], f"{new} is ready")
    del world.pods[old]
    world.services[0]["pods"].remove(old)
    world.write()
    await eventually(lambda: ("default", old) not in mesh.fleet.slots, f"{old} is gone")


async def test_a_new_uid_replaces_the_pod(world: World) -> None:
    world.server("p")
    world.write()
    async with running(CONFIG, world) as mesh:
        await mesh.wait_ready()
        pid, ips = pid_of(mesh, "p"), status(CONFIG, "p")["ips"]
        world.pods["p"]["uid"] = str(uuid.uuid4())
        world.write()
        new = await eventually(
            lambda: (
                status(CONFIG, "p")["uid"] == world.pods["p"]["uid"]
                and status(CONFIG, "p")["ready"]
                and status(CONFIG, "p")
            ),
            "the new one is ready",
        )
        assert pid_of(mesh, "p") != pid
        assert not Path(f"/proc/{pid}").exists()
        assert new["ips"] != ips


async def test_pods_may_come_and_go_faster_than_they_start(world: World) -> None:
    async with running(CONFIG, world) as mesh:
        for _ in range(5):
            for number in range(4):
                world.pod(f"p{number}", ["sleep", "600"])
            world.write()
            await eventually(lambda: len(mesh.fleet.slots) == 4, "pods are wanted")
            world.pods.clear()
            world.write()
            await eventually(lambda: not mesh.fleet.snapshot.pods, "and not wanted")
        await eventually(lambda: not mesh.fleet.slots, "no pod is left")
        left = [p.name for p in Path("/run/netns").glob(f"{CONFIG.name}-node1-*")]
        assert left == []
        assert not (CONFIG.state_dir / "pods" / "default").exists()


async def test_a_netns_that_is_being_made_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, made = threading.Event(), threading.Event(), threading.Event()
    real = wiring.make_pod_side

    def slow(wire: wiring.Wire) -> None:
        begun.set()
        assert go_on.wait(20)
        real(wire)
        made.set()

    monkeypatch.setattr(wiring, "make_pod_side", slow)
    world.pod("p", ["sleep", "600"])
    async with running(CONFIG, world) as mesh:
        world.write()
        assert await asyncio.to_thread(begun.wait, 20)
        world.pods.clear()
        world.write()
        await eventually(lambda: not mesh.fleet.snapshot.pods, "it is not wanted")
        go_on.set()
        assert await asyncio.to_thread(made.wait, 20)
        await eventually(lambda: not mesh.fleet.slots, "no pod is left")
        assert not list(Path("/run/netns").glob(f"{CONFIG.name}-node1-*"))


async def test_a_pod_that_ignores_the_request_is_killed_after_its_grace(world: World) -> None:
    world.pod("p", ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"], grace_period=0.5)
    world.write()
    async with running(CONFIG, world) as mesh:
        await mesh.wait_ready()
        pid = pid_of(mesh, "p")
        world.pods.clear()
        world.write()
        await eventually(lambda: not Path(f"/proc/{pid}").exists(), "it is gone", 5)


async def test_a_pod_of_another_mesh_is_refused(world: World) -> None:
    world.pod("p", ["sleep", "600"], node="elsewhere")
    world.pod("q", ["sleep", "600"])
    world.write()
    async with running(CONFIG, world) as mesh:
        await eventually(lambda: status(CONFIG, "q")["ready"], "the other one runs")
        assert ("default", "p") not in mesh.fleet.slots


async def test_twenty_pods_start_quickly(world: World) -> None:
    for number in range(20):
        world.pod(f"p{number}", ["sleep", "600"])
    async with running(CONFIG, world) as mesh:
        world.write()
        await eventually(lambda: len(mesh.fleet.slots) == 20, "pods are wanted")
        started = time.monotonic()
        await mesh.wait_ready()
        each = (time.monotonic() - started) / 20
        print(f"{each * 1000:.1f} ms a pod")
        assert each < 1
