"""After a runner that was killed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.demo.leftovers import leftovers
from deploy.standalone.runner.cleanup import cleanup
from deploy.standalone.runner.errors import PreflightError
from tests.deploy.standalone.runner.worlds import World, make_config, running

CONFIG = make_config("cleantest", 152)
ROOT = Path(__file__).parents[4]
RUNNER = """
import asyncio, sys
from pathlib import Path
from deploy.standalone.runner.app import Mesh
from tests.deploy.standalone.runner.worlds import PROGRAMS, make_config
async def main():
    mesh = Mesh(make_config("cleantest", 152), files=[Path(sys.argv[1])], programs=PROGRAMS)
    async with mesh:
        await mesh.wait_ready()
        print("ready", flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


def killed_runner(world: World) -> None:
    """Run a mesh in a process of its own, and kill that once all is up."""
    with subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(world.file)], stdout=subprocess.PIPE, cwd=ROOT
    ) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == b"ready\n"
        runner.kill()


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.server("a", enrolled=True)
    # It leaves a child behind that no signal of its parent's death reaches.
    made.pod("b", ["sh", "-c", "setsid sleep 600 & exec sleep 600"])
    made.write()
    return made


async def test_cleanup_after_kill(world: World) -> None:
    await asyncio.to_thread(killed_runner, world)
    assert leftovers(CONFIG)
    found = "; ".join(await cleanup("cleantest"))
    for what in ("network namespace(s)", "interface td-cleantest", "cgroup", "state", "pinned"):
        assert what in found
    assert leftovers(CONFIG) == []
    assert await cleanup("cleantest") == []


async def test_the_next_run_says_what_it_found_and_works(world: World) -> None:
    await asyncio.to_thread(killed_runner, world)
    async with running(CONFIG, world) as mesh:
        await mesh.wait_ready()
        with pytest.raises(PreflightError, match="already running"):
            await cleanup("cleantest")
