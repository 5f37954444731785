"""A real process in a cgroup and netns of the test's own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.standalone.runner import cgroups, netns
from deploy.standalone.runner.probesockets import ProbeSockets


@pytest.fixture
async def sockets(cgroup: Path, netns_name: str, tmp_path: Path) -> AsyncIterator[ProbeSockets]:
    made = ProbeSockets(cgroup / "node1_probes", netns_name, tmp_path / "logs" / "log")
    yield made
    await made.stop()


def listening(name: str) -> str:
    """The TCP sockets that listen in a netns, with their cgroups."""
    command = ["nsenter", f"--net={netns.path(name)}", "ss", "-tlnH", "--cgroup"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_a_socket_is_of_the_cgroup_and_netns(
    sockets: ProbeSockets, netns_name: str, family: int
) -> None:
    with await sockets.make(family) as made:
        assert (made.family, made.type) == (family, socket.SOCK_STREAM)
        assert not made.getblocking()
        assert not made.get_inheritable()
        made.listen()
        line = listening(netns_name)
        assert f"/{sockets.cgroup.parent.name}/node1_probes" in line
        assert f":{made.getsockname()[1]}" in line


async def test_many_at_once_by_one_process(sockets: ProbeSockets) -> None:
    families = [socket.AF_INET, socket.AF_INET6] * 20
    made = await asyncio.gather(*map(sockets.make, families))
    assert [each.family for each in made] == families
    assert len(cgroups.processes(sockets.cgroup)) == 1
    for each in made:
        each.close()


async def test_a_killed_maker_is_replaced(
    sockets: ProbeSockets, caplog: pytest.LogCaptureFixture
) -> None:
    (await sockets.make(socket.AF_INET)).close()
    (pid,) = cgroups.processes(sockets.cgroup)
    os.kill(pid, signal.SIGKILL)
    (await sockets.make(socket.AF_INET)).close()
    assert cgroups.processes(sockets.cgroup) != [pid]
    assert "the maker of node1_probes's sockets" in caplog.text


async def test_who_gives_up_waiting_leaves_no_answer_to_the_next(sockets: ProbeSockets) -> None:
    (await sockets.make(socket.AF_INET)).close()
    (pid,) = cgroups.processes(sockets.cgroup)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await sockets.make(socket.AF_INET6)
    with await sockets.make(socket.AF_INET) as made:
        assert made.family == socket.AF_INET


async def test_a_place_that_is_not_there_is_an_error(cgroup: Path, tmp_path: Path) -> None:
    sockets = ProbeSockets(cgroup / "p", "nowhere", tmp_path / "log")
    with pytest.raises(OSError, match="can't enter the pod"):
        await sockets.make(socket.AF_INET)
    await sockets.stop()


async def test_stopped_it_leaves_no_process(sockets: ProbeSockets) -> None:
    (await sockets.make(socket.AF_INET)).close()
    await sockets.stop()
    assert not cgroups.populated(sockets.cgroup)
