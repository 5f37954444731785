"""The launcher, run as it is run for pods and for `tandem exec`."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.standalone.runner import netns
from deploy.standalone.runner.launch import exec_argv


@pytest.fixture
def pod(netns_name: str, cgroup: Path, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    (tmp_path / "hosts").write_text("192.0.2.2 web\n")
    return {
        "namespace": "default",
        "name": "web-0",
        "node": "node1",
        "netns": str(netns.path(netns_name)),
        "cgroup": str(cgroup),
        "resolv_conf": str(tmp_path / "resolv.conf"),
        "hosts": str(tmp_path / "hosts"),
        "ips": [],
        "pid": None,
        "environment": {"PATH": "/usr/bin:/bin", "COLOUR": "red"},
        "directory": str(tmp_path),
    }


def run(pod: dict[str, Any], *command: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        exec_argv(pod, command), capture_output=True, text=True, timeout=20, check=False, **more
    )


def test_a_command_is_in_the_pods_place(pod: dict[str, Any], cgroup: Path) -> None:
    code = """
import json, os, socket, sys
print(json.dumps({
    "netns": os.stat("/proc/self/ns/net").st_ino,
    "cgroup": open("/proc/self/cgroup").read(),
    "hostname": socket.gethostname(),
    "resolv": open("/etc/resolv.conf").read(),
    "hosts": open("/etc/hosts").read(),
    "directory": os.getcwd(),
    "environment": dict(os.environ),
    "fds": sorted(os.listdir("/proc/self/fd"))[:3],
}))
"""
    done = run(pod, "python3", "-c", code, env={"TERM": "vt100", "SECRET": "x"})
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["netns"] == Path(pod["netns"]).stat().st_ino
    assert f"0::/{cgroup.name}\n" in found["cgroup"]
    assert found["hostname"] == "web-0"
    assert found["resolv"] == "nameserver 192.0.2.1\n"
    assert found["hosts"] == "192.0.2.2 web\n"
    assert found["directory"] == pod["directory"]
    assert found["environment"].pop("LC_CTYPE", None) in (None, "C.UTF-8")
    assert found["environment"] == pod["environment"] | {"TERM": "vt100"}


def test_the_machine_is_as_before(pod: dict[str, Any]) -> None:
    before = (os.uname().nodename, Path("/etc/resolv.conf").read_text())
    assert run(pod, "true").returncode == 0
    assert (os.uname().nodename, Path("/etc/resolv.conf").read_text()) == before
    assert pod["resolv_conf"] not in Path("/proc/self/mountinfo").read_text()


def test_streams_and_exit_status_are_passed_through(pod: dict[str, Any]) -> None:
    done = run(pod, "sh", "-c", "cat; echo oops >&2; exit 7", input="hello")
    assert (done.returncode, done.stdout, done.stderr) == (7, "hello", "oops\n")
    assert run(pod, "sh", "-c", "kill -9 $$").returncode == -9


def test_ignored_signals_are_not_inherited(pod: dict[str, Any]) -> None:
    done = run(pod, "grep", "SigIgn", "/proc/self/status")
    ignored = int(done.stdout.split()[1], 16)
    # Signals 32 and 33 are the C library's own: nobody can set them back.
    assert ignored & ~(0b11 << 31) == 0


@pytest.mark.parametrize(
    ("command", "changes", "status", "message"),
    [
        (["no-such-thing"], {}, 127, "command 'no-such-thing' not found"),
        (["/no/such"], {}, 127, "command '/no/such' not found"),
        (["/etc"], {}, 126, "command '/etc' is not executable"),
        (["true"], {"directory": "/no/such"}, 125, "working directory /no/such: No such"),
        (["true"], {"netns": "/run/netns/none"}, 125, "can't enter the pod: No such file"),
        (["true"], {"cgroup": "/no/such"}, 125, "can't enter the pod: No such file"),
    ],
)
def test_what_cannot_be_executed_says_why(
    pod: dict[str, Any], command: list[str], changes: dict[str, str], status: int, message: str
) -> None:
    done = run(pod | changes, *command)
    assert done.returncode == status
    assert done.stderr.startswith(message)


def test_a_pod_json_needs_only_its_place(pod: dict[str, Any]) -> None:
    known = ("name", "netns", "cgroup", "resolv_conf")
    done = run({key: pod[key] for key in known}, "pwd")
    assert (done.returncode, done.stdout) == (0, "/\n")
