"""Named network namespaces."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.standalone.runner import netns
from deploy.standalone.runner.errors import NetworkError
from deploy.standalone.runner.netns import NetnsThread

NAME = "netnstest"


def here() -> int:
    return Path("/proc/thread-self/ns/net").stat().st_ino


def test_the_thread_comes_back(tmp_path: Path) -> None:
    before = here()
    with netns.created(NAME, tmp_path):
        assert here() == netns.path(NAME).stat().st_ino != before
        assert [name for _, name in socket.if_nameindex()] == ["lo"]
    assert here() == before
    assert netns.recorded(tmp_path) == [NAME]
    with (
        pytest.raises(NetworkError, match=f"{NAME} exists already"),
        netns.created(NAME, tmp_path),
    ):
        pass
    assert netns.delete(NAME, tmp_path)
    assert not netns.delete(NAME, tmp_path)
    assert netns.recorded(tmp_path) == []
    assert not netns.path(NAME).exists()


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    before = here()
    with pytest.raises(ZeroDivisionError), netns.created(NAME, tmp_path):
        raise ZeroDivisionError
    assert here() == before
    assert not netns.path(NAME).exists()


def test_one_that_others_hold_is_gone_by_name(tmp_path: Path) -> None:
    """A process in a mount namespace of its own must not keep it mounted."""
    with netns.created(NAME, tmp_path):
        pass
    code = """
from deploy.standalone.runner import launch
launch.unshare(launch.CLONE_NEWNS)
launch.mount("none", "/", launch.MS_SLAVE | launch.MS_REC)
print(flush=True)
input()
print("netnstest" in open("/proc/self/mountinfo").read())
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[4],
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        netns.delete(NAME, tmp_path)
        output, _ = other.communicate(b"\n")
    assert output == b"False\n"


async def test_sockets_and_children_belong_to_the_threads_netns(netns_name: str) -> None:
    thread = NetnsThread(netns_name)
    try:
        inside = netns.path(netns_name).stat().st_ino
        assert await thread.call(here) == inside
        output = await thread.call(
            subprocess.check_output, ["stat", "-Lc", "%i", "/proc/self/ns/net"]
        )
        assert int(output) == inside
        assert here() != inside
        with pytest.raises(ZeroDivisionError):
            await thread.call(lambda: 1 // 0)
    finally:
        thread.close()
    assert Path("/proc/self/ns/net").stat().st_ino == here()
