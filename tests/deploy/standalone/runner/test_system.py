from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from deploy.standalone.config import HOST
from deploy.standalone.runner import cgroups, netns
from deploy.standalone.runner.process import Launch, Process
from deploy.standalone.runner.system import (
    Programs,
    SystemProcess,
    control_launch,
    daemon_launch,
)
from tests.deploy.standalone.runner.worlds import eventually, make_config
from ztunnel_compat.runtime.tasks import Tasks

CONFIG = make_config("launchtest", 156, "a", "a-b")
MOUNT = Path("/cgroups")


def test_a_daemon_is_told_where_probes_come_from() -> None:
    launches = [daemon_launch(CONFIG, Programs(), node, MOUNT) for node in CONFIG.nodes]
    probes = [launch.environment["PROBE_CGROUP"] for launch in launches]
    assert probes == [
        f"/cgroups/tandem-launchtest/{name}" for name in ("a_probes", "a-b_probes")
    ]
    for launch in launches:
        root = launch.environment["CGROUP_ROOT"]
        assert launch.cgroup == f"{root}/daemon"
        assert not any(probe.startswith(f"{root}/") for probe in probes)


def test_the_control_plane_resolves_names_where_the_machine_does() -> None:
    launch = control_launch(CONFIG, Programs(), [], MOUNT)
    index = launch.argv.index("--resolver-netns")
    assert launch.argv[index + 1] == f"/proc/{os.getpid()}/ns/net"
    assert launch.argv.count("--node") == 2


def test_the_first_node_has_the_machines_own_processes() -> None:
    launch = control_launch(CONFIG, Programs(), [], MOUNT)
    index = launch.argv.index("--members")
    assert launch.argv[index + 1] == f"a={CONFIG.fabric4(HOST)},{CONFIG.fabric6(HOST)}"


# Asked to end, it offers something until a file is there, and lives on until another is.
HANDS_OVER = """
import os, pathlib, signal, socket, sys, time
folder = pathlib.Path(sys.argv[1])
def leave(number, frame):
    offer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    offer.bind(str(folder / "handover.sock"))
    wait("taken")
    (folder / "handover.sock").unlink()
    wait("drained")
    os._exit(0)
def wait(name):
    while not (folder / name).exists():
        time.sleep(0.01)
signal.signal(signal.SIGTERM, leave)
print("up", flush=True)
while True:
    signal.pause()
"""


@asynccontextmanager
async def running(
    folder: Path, netns_name: str, cgroup: Path, *argv: str
) -> AsyncIterator[SystemProcess]:
    place = Launch(argv, str(cgroup), str(netns.path(netns_name)), {"PATH": "/usr/bin:/bin"})

    async def ready() -> bool:
        return True

    log = folder / "log"
    made = SystemProcess("it", place, log, ready, folder / "handover.sock")
    async with Tasks() as tasks:
        tasks.spawn(made.run(), "it")
        try:
            await eventually(lambda: "up" in log.read_text(), "up")
            yield made
        finally:
            await tasks.close()
            (folder / "taken").touch()
            (folder / "drained").touch()
            await made.stop()
    assert not cgroups.populated(cgroup)


def current(made: SystemProcess) -> Process:
    assert made.process is not None
    return made.process


async def test_a_successor_runs_while_the_old_run_hands_over(
    tmp_path: Path, netns_name: str, cgroup: Path
) -> None:
    argv = (sys.executable, "-c", HANDS_OVER, str(tmp_path))
    async with running(tmp_path, netns_name, cgroup, *argv) as made:
        old = current(made)
        old.send(signal.SIGTERM)
        await eventually(lambda: current(made) is not old, "successor")
        await eventually(lambda: (tmp_path / "log").read_text().count("up") == 2, "both up")
        # What is still offered is the old one's: the new one isn't taken to leave.
        new = current(made)
        (tmp_path / "taken").touch()
        await eventually(lambda: not (tmp_path / "handover.sock").exists(), "handed over")
        assert old.running
        assert made.leaving == {old}
        assert made.ends == 0
        (tmp_path / "drained").touch()
        await eventually(lambda: not made.leaving, "old run ended")
        assert not old.running
        assert current(made) is new
        await eventually(lambda: runs(cgroup) == ["2"], "cgroup removed")


def runs(cgroup: Path) -> list[str]:
    return [child.name for child in cgroup.iterdir() if child.is_dir()]


async def test_a_successor_s_crash_leaves_the_old_run_alone(
    tmp_path: Path, netns_name: str, cgroup: Path
) -> None:
    argv = (sys.executable, "-c", HANDS_OVER, str(tmp_path))
    async with running(tmp_path, netns_name, cgroup, *argv) as made:
        old = current(made)
        old.send(signal.SIGTERM)
        await eventually(lambda: current(made) is not old, "successor")
        new = current(made)
        new.send(signal.SIGKILL)
        await eventually(lambda: made.ends == 1, "crash")
        await eventually(lambda: current(made) is not new, "another run")
        assert old.running


async def test_stopping_ends_both_runs(tmp_path: Path, netns_name: str, cgroup: Path) -> None:
    argv = (sys.executable, "-c", HANDS_OVER, str(tmp_path))
    async with running(tmp_path, netns_name, cgroup, *argv) as made:
        old = current(made)
        old.send(signal.SIGTERM)
        await eventually(lambda: current(made) is not old, "successor")
    assert not old.running
    assert not current(made).running


def test_a_daemon_is_told_whether_mutual_tls_is_for_one_node_too() -> None:
    for wanted, told in ((False, "false"), (True, "true")):
        config = replace(CONFIG, same_node_mtls=wanted)
        launch = daemon_launch(config, Programs(), "a", MOUNT)
        assert launch.environment["SAME_NODE_MTLS"] == told
