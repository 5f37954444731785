"""Single pods: enrolment, restarts, readiness, files."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.standalone.runner.worlds import (
    World,
    enrolled,
    eventually,
    make_config,
    pid_of,
    run_in,
    running,
    status,
)

CONFIG = make_config("podtest", 166)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def is_enrolled(wanted: bool) -> bool:
    return bool(enrolled(CONFIG)) == wanted


def matching(pod: str, fits: Callable[..., bool]) -> dict[str, Any]:
    """The pod's status if it fits, else nothing."""
    found = status(CONFIG, pod)
    return found if fits(found) else {}


async def test_a_pods_record_and_environment(world: World) -> None:
    env = [{"name": "IP", "field": "status.podIP"}, {"name": "COLOUR", "value": "red"}]
    world.pod(
        "p", ["sh", "-c", "echo $IP $COLOUR $PWD; sleep 600"], env=env, working_dir="/tmp"
    )
    world.write()
    async with running(CONFIG, world) as mesh:
        await mesh.wait_ready()
        folder = CONFIG.pod_dir("default", "p")
        record = json.loads((folder / "pod.json").read_text())
        pid = pid_of(mesh, "p")
        assert record["pid"] == pid
        assert record["node"] == "node1"
        assert Path(f"/proc/{pid}/ns/net").stat().st_ino == Path(record["netns"]).stat().st_ino
        assert Path(record["cgroup"]).name == "default_p"
        assert (
            f"{Path(record['cgroup']).name}/main\n" in Path(f"/proc/{pid}/cgroup").read_text()
        )
        log = await eventually((folder / "log").read_text, "a line in the log")
        assert log == "10.166.1.2 red /tmp\n"
        assert await run_in(CONFIG, "p", "sh", "-c", "echo $COLOUR; exit 5") == (5, "red\n")
        assert status(CONFIG, "p") == {
            "uid": world.pods["p"]["uid"],
            "node": "node1",
            "ips": ["10.166.1.2", "fd00:20:166:1::2"],
            "phase": "Running",
            "ready": True,
            "restarts": 0,
            "message": "",
        }


async def test_a_process_starts_after_the_ack_and_never_before(world: World) -> None:
    world.pod("p", ["sleep", "600"], enrolled=True)
    async with running(CONFIG, world) as mesh:
        [daemon] = mesh.daemons
        assert daemon.process is not None
        # Stopped, it is connected and answers nothing.
        daemon.process.send(signal.SIGSTOP)
        world.write()
        waiting = await eventually(
            lambda: (
                "waiting for the daemon" in status(CONFIG, "p")["message"]
                and status(CONFIG, "p")
            ),
            "the pod waits",
        )
        assert (waiting["phase"], waiting["ready"]) == ("Pending", False)
        slot = mesh.fleet.slots["default", "p"]
        assert slot.pod is not None
        assert slot.pod.containers[0].process is None
        daemon.process.send(signal.SIGCONT)
        await mesh.wait_ready()
        uid = world.pods["p"]["uid"]
        netns = Path("/run/netns") / CONFIG.pod_netns("node1", "default", "p")
        assert enrolled(CONFIG) == {uid: ["default", "p", netns.stat().st_ino]}


async def test_enrolment_comes_and_goes_without_a_restart(world: World) -> None:
    pod = world.pod("p", ["sleep", "600"])
    world.write()
    async with running(CONFIG, world) as mesh:
        await mesh.wait_ready()
        pid = pid_of(mesh, "p")
        for wanted in (True, False, True):
            pod["enrolled"] = wanted
            world.write()
            await eventually(partial(is_enrolled, wanted), f"enrolled: {wanted}")
        assert pid_of(mesh, "p") == pid
        assert status(CONFIG, "p")["ready"]


async def test_enrolled_pods_survive_their_daemon(world: World) -> None:
    world.pod("p", ["sleep", "600"], enrolled=True)
    world.write()
    async with running(CONFIG, world) as mesh:
        await mesh.wait_ready()
        pid, before = pid_of(mesh, "p"), enrolled(CONFIG)
        [daemon] = mesh.daemons
        assert daemon.process is not None
        killed = daemon.process
        CONFIG.zds_socket("node1").with_name("enrolled.json").unlink()
        killed.send(signal.SIGKILL)
        await eventually(lambda: enrolled(CONFIG) == before, "the new daemon knows the pod")
        assert daemon.process is not killed
        assert pid_of(mesh, "p") == pid


async def test_a_process_that_ends_is_unready_at_once_and_started_again(world: World) -> None:
    world.server("p")
    world.service("web", ["p"], ["10.167.0.20"])
    world.write()
    async with running(CONFIG, world) as mesh:
        await mesh.wait_ready()
        pid = pid_of(mesh, "p")
        os.kill(pid, signal.SIGKILL)
        ended = await eventually(
            partial(matching, "p", lambda s: not s["ready"]), "it is unready"
        )
        assert ended["phase"] == "Running"
        await eventually(lambda: not mesh.fleet.listed(ended["ips"]), "the endpoint is gone")
        back = await eventually(partial(matching, "p", lambda s: s["ready"]), "it is back")
        assert back["restarts"] == 1
        assert back["ips"] == ended["ips"]
        assert pid_of(mesh, "p") != pid


async def test_what_cannot_start_says_why(world: World) -> None:
    world.pod("command", ["no-such-thing"])
    world.pod("folder", ["true"], working_dir="/no/such")
    world.pod("crash", ["sh", "-c", "exit 3"])
    world.write()
    async with running(CONFIG, world):
        for name, message, phase in (
            (
                "command",
                "command 'no-such-thing' not found; starting it again in 1 s",
                "Pending",
            ),
            ("folder", "working directory /no/such: No such file or directory", "Pending"),
            ("crash", "exited with status 3; starting it again in 1 s", "Running"),
        ):
            told = await eventually(
                partial(matching, name, lambda s, m=message: m in s["message"]),
                f"{name} says {message}",
            )
            assert (told["phase"], told["ready"]) == (phase, False)
            assert "; starting it again in " in told["message"]


async def test_policies_that_let_a_process_end(world: World) -> None:
    world.pod("good", ["true"], restart_policy="Never")
    world.pod("bad", ["false"], restart_policy="Never")
    world.pod("done", ["true"], restart_policy="OnFailure")
    world.write()
    async with running(CONFIG, world):
        for name, phase in (("good", "Succeeded"), ("bad", "Failed"), ("done", "Succeeded")):
            told = await eventually(
                partial(matching, name, lambda s, p=phase: s["phase"] == p),
                f"{name} is {phase}",
            )
            assert not told["ready"]
            assert told["message"] == ("exited with status 1" if name == "bad" else "")


async def test_children_of_a_process_end_with_it(world: World) -> None:
    script = "setsid sleep 600 & echo; sleep 0.1; exit 0"
    world.pod("p", ["sh", "-c", script], restart_policy="Never")
    world.write()
    async with running(CONFIG, world) as mesh:
        await eventually(lambda: status(CONFIG, "p")["phase"] == "Succeeded", "it ended")
        cgroup = CONFIG.pod_cgroup(mesh.cgroup_mount, "node1", "default", "p")
        assert "populated 0" in (cgroup / "cgroup.events").read_text()


async def test_a_probe_that_fails_takes_the_pod_out(world: World, tmp_path: Path) -> None:
    flag = tmp_path / "well"
    flag.touch()
    code = f"""
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
class H(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if os.path.exists({str(flag)!r}) else 503)
        self.end_headers()
HTTPServer(("", 8080), H).serve_forever()
"""
    readiness = {"kind": "http", "port": 8080, "period": 0.05, "failure_threshold": 2}
    world.pod("p", ["python3", "-c", code], readiness=readiness)
    world.write()
    async with running(CONFIG, world) as mesh:
        await mesh.wait_ready()
        # The record is written a moment after the mesh knows.
        await eventually(lambda: status(CONFIG, "p")["ready"], "its record says so")
        flag.unlink()
        told = await eventually(
            partial(matching, "p", lambda s: not s["ready"]), "it is unready"
        )
        assert told["message"] == "readiness probe: status 503"
        flag.touch()
        await eventually(lambda: status(CONFIG, "p")["ready"], "it is ready again")
        assert status(CONFIG, "p")["restarts"] == 0


async def test_several_containers_share_the_pod(world: World) -> None:
    pod = world.server("p")
    side = {"name": "side", "command": ["sleep", "600"], "args": [], "env": []}
    pod["containers"].append(side)
    world.write()
    async with running(CONFIG, world) as mesh:
        await mesh.wait_ready()
        slot = mesh.fleet.slots["default", "p"]
        assert slot.pod is not None
        inodes = {
            Path(f"/proc/{each.pid}/ns/net").stat().st_ino for each in slot.pod.containers
        }
        assert len(inodes) == 1
