"""One runner per mesh."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.standalone.config import MeshConfig
from deploy.standalone.runner.errors import PreflightError
from deploy.standalone.runner.lock import MeshLock, current, runner_pid

CONFIG = MeshConfig(name="locktest")
HOLDER = """
import sys
from deploy.standalone.config import MeshConfig
from deploy.standalone.runner.lock import MeshLock
MeshLock.take(MeshConfig(name="locktest"))
print(flush=True)
sys.stdin.read()
"""


def test_the_second_is_told_who_has_it() -> None:
    lock = MeshLock.take(CONFIG)
    try:
        assert runner_pid(CONFIG) == os.getpid()
        with pytest.raises(PreflightError, match=f"is already running .*{os.getpid()}"):
            MeshLock.take(CONFIG)
    finally:
        lock.release()
    assert runner_pid(CONFIG) is None
    assert not CONFIG.lock_file.exists()
    MeshLock.take(CONFIG).release()


def test_a_killed_holder_holds_nothing() -> None:
    root = Path(__file__).parents[4]
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=root,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert runner_pid(CONFIG) == holder.pid
        holder.send_signal(signal.SIGKILL)
    assert runner_pid(CONFIG) is None
    MeshLock.take(CONFIG).release()


def test_a_file_that_was_removed_is_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    with path.open() as stream:
        assert current(path, stream.fileno())
        path.unlink()
        assert not current(path, stream.fileno())
        path.touch()
        assert not current(path, stream.fileno())
