"""Children put in their place, and their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.standalone.runner import cgroups, netns, process
from deploy.standalone.runner.errors import LaunchError
from deploy.standalone.runner.process import Launch
from tests.deploy.standalone.runner.worlds import eventually


@pytest.fixture
def place(netns_name: str, cgroup: Path) -> Launch:
    return Launch(
        argv=("true",),
        cgroup=str(cgroup),
        netns=str(netns.path(netns_name)),
        environment={"PATH": "/usr/bin:/bin"},
    )


def shell(place: Launch, script: str) -> Launch:
    return Launch(("sh", "-c", script), place.cgroup, place.netns, place.environment)


async def test_output_goes_to_the_end_of_the_log(place: Launch, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for word in ("one", "two"):
        child = await process.start(shell(place, f"echo {word}; echo {word} >&2"), log)
        assert await child.wait() == 0
    assert log.read_text() == "one\none\ntwo\ntwo\n"
    assert process.tail(log, 2) == ["two", "two"]


async def test_exit_statuses(place: Launch, tmp_path: Path) -> None:
    child = await process.start(shell(place, "exit 3"), tmp_path / "log")
    assert await child.wait() == 3
    assert process.describe_exit(3) == "exited with status 3"
    child = await process.start(shell(place, "kill -TERM $$"), tmp_path / "log")
    assert await child.wait() == -15
    assert process.describe_exit(-15) == "was killed by SIGTERM"


async def test_what_cannot_be_executed_is_an_error(place: Launch, tmp_path: Path) -> None:
    bad = Launch(("no-such-thing",), place.cgroup, place.netns, place.environment)
    with pytest.raises(LaunchError, match="command 'no-such-thing' not found"):
        await process.start(bad, tmp_path / "log")


async def test_a_process_leads_a_session_of_its_own(place: Launch, tmp_path: Path) -> None:
    child = await process.start(shell(place, "sleep 60"), tmp_path / "log")
    assert os.getsid(child.pid) == child.pid
    await process.stop(child, 5)
    assert child.exited.result() == -signal.SIGTERM


async def test_who_does_not_stop_is_killed(place: Launch, tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = await process.start(
        shell(place, "trap '' TERM; echo up; while :; do sleep 1; done"), log
    )
    await eventually(log.read_text, "the trap is set")
    started = time.monotonic()
    await process.stop(child, 0.2)
    assert child.exited.result() == -signal.SIGKILL
    assert time.monotonic() - started < 2


async def test_a_signal_to_who_has_ended_does_nothing(place: Launch, tmp_path: Path) -> None:
    child = await process.start(place, tmp_path / "log")
    await child.wait()
    child.send(signal.SIGKILL)


async def test_children_end_with_the_runner(
    place: Launch, cgroup: Path, tmp_path: Path
) -> None:
    code = f"""
import asyncio
from pathlib import Path
from deploy.standalone.runner import process
async def main():
    path = {{"PATH": "/bin"}}
    place = process.Launch(("sleep", "60"), {place.cgroup!r}, {place.netns!r}, path)
    await process.start(place, Path({str(tmp_path / "log")!r}))
    print(flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path(__file__).parents[4]
    ) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == b"\n"
        assert cgroups.populated(cgroup)
        runner.kill()
    await eventually(lambda: not cgroups.populated(cgroup), "the child is gone", 5)


async def test_it_is_quick(place: Launch, tmp_path: Path) -> None:
    times = []
    for _ in range(5):
        started = time.monotonic()
        child = await process.start(place, tmp_path / "log")
        times.append(time.monotonic() - started)
        await child.wait()
    assert min(times) < 0.1
