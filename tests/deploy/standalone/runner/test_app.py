"""The mesh as a whole: what it is told, what it survives, what it leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from deploy.demo.leftovers import leftovers
from deploy.standalone.config import MeshConfig
from deploy.standalone.runner import cgroups
from deploy.standalone.runner.app import Mesh
from deploy.standalone.runner.errors import PreflightError, StartError
from deploy.standalone.runner.system import Programs
from tests.deploy.standalone.runner.worlds import (
    PROGRAMS,
    World,
    asking,
    eventually,
    make_config,
    pid_of,
    running,
    status,
    statuses,
)

CONFIG = make_config("apptest", 150, "node1", "node2")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_progress_is_told_and_nodes_are_in_sync(world: World) -> None:
    told: list[str] = []
    async with Mesh(
        CONFIG, files=[world.file], progress=told.append, programs=PROGRAMS
    ) as mesh:
        await mesh.wait_ready()
        await eventually(lambda: statuses(CONFIG)["synced"] == ["node1", "node2"], "synced")
        assert CONFIG.process_log("control").exists()
        assert CONFIG.process_log("daemon-node2").exists()
    assert leftovers(CONFIG) == []
    assert [line.split()[0] for line in told] == ["making", "starting", "starting", "starting"]


async def test_agents_have_tokens_before_they_start(world: World) -> None:
    asks = ["sh", "-c", "cat $TOKEN_PATH; stat -c %a $TOKEN_PATH; sleep 600"]
    env = [{"name": "TOKEN_PATH", "field": "tandem.io/token-path"}]
    world.pod("waypoint", asks, env=env)
    world.pod("other", ["sleep", "600"])
    world.write()
    async with running(CONFIG, world) as mesh:
        await mesh.wait_ready()
        for node in CONFIG.nodes:
            path = CONFIG.agent_token(node)
            assert path.read_text().startswith("token ")
            assert path.stat().st_mode & 0o777 == 0o600
        asked = statuses(CONFIG)["tokens"]
        agents = [{"node": node} for node in CONFIG.nodes]
        assert asked[: len(agents)] == agents
        (own,) = asked[len(agents) :]
        assert (own["namespace"], own["pod"]) == ("default", "waypoint")
        log = CONFIG.pod_dir("default", "waypoint") / "log"
        await eventually(lambda: "600" in log.read_text(), "its process reads it")
        assert CONFIG.pod_token("default", "waypoint").exists()
        assert not CONFIG.pod_token("default", "other").exists()


async def test_a_killed_control_plane_comes_back_and_is_told_everything(world: World) -> None:
    world.server("p")
    world.pod("client", ["sleep", "600"])
    world.service("web", ["p"], ["10.151.0.20"])
    world.write()
    async with running(CONFIG, world) as mesh:
        await mesh.wait_ready()
        pid, before = pid_of(mesh, "p"), status(CONFIG, "p")
        pids = control_pids(mesh)
        # What a control process says before it knows what runs takes nobody out.
        async with asking(CONFIG, "client", "10.151.0.20"):
            os.kill(pids[0], signal.SIGKILL)
            both = ["node1", "node2"]
            await eventually(lambda: statuses(CONFIG)["synced"] == both, "synced")
        assert control_pids(mesh) != pids
        assert status(CONFIG, "p") == before
        await eventually(lambda: mesh.fleet.listed(before["ips"]), "the endpoint is listed")
        assert pid_of(mesh, "p") == pid


def control_pids(mesh: Mesh) -> list[int]:
    return cgroups.processes(CONFIG.cgroup(mesh.cgroup_mount) / "control")


async def test_wait_ready_names_what_is_not(world: World) -> None:
    world.pod("p", ["no-such-thing"])
    world.write()
    async with running(CONFIG, world) as mesh:
        with pytest.raises(StartError, match="default/p: command 'no-such-thing' not found"):
            await mesh.wait_ready(seconds=3)
        await mesh.wait_ready("other")


async def test_a_process_that_cannot_start_is_an_error_with_its_log(world: World) -> None:
    code = "print('manifest.yaml:3: nonsense'); raise SystemExit(1)"
    programs = Programs(control=(sys.executable, "-c", code), daemon=PROGRAMS.daemon)
    with pytest.raises(StartError) as error:
        async with Mesh(CONFIG, files=[world.file], programs=programs):
            pass
    assert str(error.value).startswith("the control plane exited with status 1")
    assert "manifest.yaml:3: nonsense" in str(error.value)
    assert leftovers(CONFIG) == []
    programs = Programs(control=PROGRAMS.control, daemon=("no-such-daemon",))
    with pytest.raises(StartError, match=r"daemon of node\d can't be started: command"):
        async with Mesh(CONFIG, files=[world.file], programs=programs):
            pass
    assert leftovers(CONFIG) == []


async def test_a_live_mesh_is_left_alone(world: World) -> None:
    async with running(CONFIG, world) as mesh:
        with pytest.raises(PreflightError, match=f"already running .process {os.getpid()}"):
            async with Mesh(CONFIG, files=[world.file], programs=PROGRAMS):
                pass
        other = MeshConfig(
            name="apptest2",
            pod_cidr4=CONFIG.pod_cidr4,
            pod_cidr6=CONFIG.pod_cidr6,
            service_cidr4=CONFIG.service_cidr4,
            service_cidr6=CONFIG.service_cidr6,
        )
        with pytest.raises(PreflightError, match="/16 is in use on this machine"):
            async with Mesh(other, files=[world.file], programs=PROGRAMS):
                pass
        assert leftovers(other) == []
        world.server("p")
        world.write()
        await eventually(lambda: ("default", "p") in mesh.fleet.slots, "the pod is wanted")
        await mesh.wait_ready()


async def test_wait_ends_with_what_it_waits_for(world: World) -> None:
    async with running(CONFIG, world) as mesh:
        await mesh.wait(asyncio.sleep(0))
